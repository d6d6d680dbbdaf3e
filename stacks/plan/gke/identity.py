"""Whom a deployment's pods are to Google: granted roles themselves, or by a service account they borrow.

Either way they get nothing in the whole project: a role on the stack's bucket, and on one secret.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from stacks.plan.types import AccountPlan
from stacks.plan.types_gke import IdentityPlan

if TYPE_CHECKING:
    from stacks.plan.cloud_run import Setting

SERVER: Final = "server"
WEIGHTS: Final = "weights"
CONVERTER: Final = "converter"
ACCOUNT_ANNOTATION: Final = "iam.gke.io/gcp-service-account"
"""Names the Google service account that pods borrow; only beside the grant that lets them."""

READS: Final = "roles/storage.objectViewer"
WRITES: Final = "roles/storage.objectUser"


def workload_pool(project: str) -> str:
    """Gives the pool of a project's pods: one for all its clusters."""
    return f"{project}.svc.id.goog"


def server(namespace: str, account: AccountPlan | None, setting: Setting) -> IdentityPlan:
    """Plans whom servers are: they read objects of the stack's bucket."""
    return IdentityPlan(
        namespace=namespace,
        kubernetes_account=SERVER,
        workload_pool=workload_pool(setting.foundation.project),
        account=account,
        bucket_role=READS,
        reads_token=False,
    )


def weights_job(
    namespace: str, account: AccountPlan | None, setting: Setting, *, reads_token: bool
) -> IdentityPlan:
    """Plans whom a weights job is: it writes objects of the stack's bucket.

    Args:
        namespace: the deployment's.
        account: Google service account that it borrows; None where roles are granted to it directly.
        setting: what the deployment is planned in.
        reads_token: whether it reads the Hub token.
    """
    return IdentityPlan(
        namespace=namespace,
        kubernetes_account=WEIGHTS,
        workload_pool=workload_pool(setting.foundation.project),
        account=account,
        bucket_role=WRITES,
        reads_token=reads_token,
    )


def converter(namespace: str, account: AccountPlan | None, setting: Setting) -> IdentityPlan:
    """Plans whom Google's converter is: as the weights job, and it reads no token."""
    found = weights_job(namespace, account, setting, reads_token=False)
    return replace(found, kubernetes_account=CONVERTER)


def account_annotations(identity: IdentityPlan) -> dict[str, str]:
    """Gives the annotations of the Kubernetes service account."""
    return {ACCOUNT_ANNOTATION: identity.account.email} if identity.account else {}
