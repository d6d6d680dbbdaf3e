"""What to run in a cluster, and the Job object that says so.

Fields as the Job API describes them: https://kubernetes.io/docs/concepts/workloads/controllers/job/
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final

from pydantic import BaseModel, ConfigDict, Field

from providers.modelops.exit_codes import final_codes
from providers.modelops.kubernetes_access import ClusterAccess
from providers.modelops.runners import DEFINITION_LABEL, LABEL, Definition, Name, Text

CONTAINER: Final = "weights"
USER: Final = 65532
"""The user that the image runs as; a kubelet can tell that it is not root only by number."""
KEPT_SECONDS: Final = 7 * 24 * 60 * 60
"""How long an ended Job stays: its end is read within hours, and a person may want its log for some days."""
_TMP: Final = "/tmp"  # noqa: S108 - the container's own
_LABEL_KEY = r"^([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$"
_QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"

Quantity = Annotated[str, Field(pattern=_QUANTITY)]
LabelKey = Annotated[str, Field(pattern=_LABEL_KEY)]


class SecretReference(BaseModel):
    """A key of a Secret in the job's namespace."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Text
    key: Text


class KubernetesDefinition(Definition):
    """A weights job in a cluster: what every platform needs to know, and what only Kubernetes does."""

    cluster: ClusterAccess
    memory: Quantity = "256Mi"
    """Request and limit: the pipeline needs no more at any size of checkpoint."""
    cpu: Quantity = "500m"
    """Request, without a limit: what the node has to spare makes staging faster."""
    scratch: Quantity = "1Gi"
    """Size of the container's temporary folder; everything else in it is read-only."""
    secrets: dict[Name, SecretReference] = Field(default_factory=dict)
    """Variables whose values are in Secrets, by name of the variable."""
    max_retries: Annotated[int, Field(ge=0)] = 3
    """How often a failed attempt is repeated, where another attempt may end better."""
    node_selector: dict[LabelKey, str] = Field(default_factory=dict)
    """Labels of the nodes that it may run on. Those with TPUs or GPUs are tainted; it tolerates nothing."""

    no_work: ClassVar[frozenset[str]] = Definition.no_work | {"cluster"}


def job_object(definition: KubernetesDefinition, name: str, label: str) -> dict[str, Any]:
    """The Job that stages a target.

    Args:
        definition: what to run.
        name: the object's name.
        label: value of `LABEL`.
    """
    labels = {**definition.labels, LABEL: label, DEFINITION_LABEL: definition.digest}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "parallelism": 1,
            "completions": 1,
            "backoffLimit": definition.max_retries,
            "activeDeadlineSeconds": definition.timeout_seconds,
            "ttlSecondsAfterFinished": KEPT_SECONDS,
            "podFailurePolicy": _failure_policy(),
            "template": {"metadata": {"labels": labels}, "spec": _pod(definition)},
        },
    }


def _failure_policy() -> dict[str, Any]:
    """A node that goes away costs no attempt; an outcome that would repeat itself ends the job."""
    disrupted = {"type": "DisruptionTarget", "status": "True"}
    final = {"containerName": CONTAINER, "operator": "In", "values": list(final_codes())}
    return {
        "rules": [
            {"action": "Ignore", "onPodConditions": [disrupted]},
            {"action": "FailJob", "onExitCodes": final},
        ]
    }


def _pod(definition: KubernetesDefinition) -> dict[str, Any]:
    return {
        "restartPolicy": "Never",
        "serviceAccountName": definition.service_account,
        **({"nodeSelector": definition.node_selector} if definition.node_selector else {}),
        # The image asks Google's metadata server who it is; nothing in it speaks to the cluster.
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(definition)],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": definition.scratch}}],
    }


def _container(definition: KubernetesDefinition) -> dict[str, Any]:
    secrets = {name: reference.model_dump() for name, reference in definition.secrets.items()}
    return {
        "name": CONTAINER,
        "image": definition.image,
        "args": list(definition.args),
        "env": [
            *({"name": name, "value": value} for name, value in definition.env.items()),
            *({"name": name, "valueFrom": {"secretKeyRef": key}} for name, key in secrets.items()),
        ],
        "resources": {
            "requests": {
                "cpu": definition.cpu,
                "memory": definition.memory,
                "ephemeral-storage": definition.scratch,
            },
            "limits": {"memory": definition.memory},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": _TMP}],
        # The error's line is the log's last; without this a person would have to look for it there.
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
