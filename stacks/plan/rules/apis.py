"""APIs that must be enabled before anything of them is made."""

from __future__ import annotations

from collections.abc import Iterator

from stacks.plan.report import Report
from stacks.plan.rules.facts import check_text
from stacks.plan.runners import CLOUD_RUN, VERTEX
from stacks.plan.types import DeploymentPlan, StackPlan

_DOMAIN = ".googleapis.com"


def names(plan: StackPlan, report: Report) -> None:
    """Full names of APIs."""
    for api in plan.foundation.apis:
        check_text(report, "api", "", api, "is no API")


def enabled(plan: StackPlan, report: Report) -> None:
    """The API of every resource is among those that the stack enables."""
    for api, what in _needed(plan):
        if f"{api}{_DOMAIN}" not in plan.foundation.apis:
            report.problem(
                "", f"{api}{_DOMAIN}", f"is not enabled, and {what} needs it", "add it to the APIs"
            )


def _needed(plan: StackPlan) -> Iterator[tuple[str, str]]:
    """APIs by the resources of the components: `stacks/components`, `stacks/topologies`."""
    yield "serviceusage", "enabling an API"
    yield "cloudresourcemanager", "reading the project"
    yield "storage", f"bucket {plan.foundation.bucket.name}"
    yield "artifactregistry", f"repository {plan.foundation.repository.repository_id}"
    if plan.foundation.hub_token is not None:
        yield "secretmanager", f"secret {plan.foundation.hub_token.secret_id}"
    for each in plan.on_cloud_run.values():
        yield "run", f"service {each.service_name}"
    for serving in plan.on_vertex.values():
        yield "aiplatform", f"endpoint {serving.endpoint.endpoint_id}"
    if plan.cluster is not None:
        yield "container", f"cluster {plan.cluster.name}"
        yield "compute", f"cluster {plan.cluster.name}"
        yield "iam", f"service account {plan.cluster.account.account_id}"
        if plan.cluster.gateway:
            yield "iap", "a Gateway"
            yield "certificatemanager", "a Gateway"
    for deployment in plan.deployments.values():
        yield from _of(deployment)


def _of(deployment: DeploymentPlan) -> Iterator[tuple[str, str]]:
    job = deployment.weights
    for account in deployment.accounts:
        yield "iam", f"service account {account.account_id}"
    if job.runner == VERTEX:
        yield "aiplatform", f"custom job {job.job_name}"
    if job.runner == CLOUD_RUN:
        yield "run", f"job {job.job_name}"


RULES = (names, enabled)
