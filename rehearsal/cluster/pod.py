"""A pod in the shape that the rehearsed cloud's runner takes, with what it refers to looked up."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Protocol

from rehearsal.cloud.tokens import PRINCIPAL
from rehearsal.runner import StartError
from rehearsal.runner.images import find_image
from rehearsal.world import World

Body = Mapping[str, Any]

IDENTITY = "iam.gke.io/gcp-service-account"
"""Annotation of a cluster's service account that names the one at Google that its pods borrow.
https://cloud.google.com/kubernetes-engine/docs/how-to/workload-identity"""


CONVERTERS = "us-docker.pkg.dev/cloud-tpu-images/inference/inference-checkpoint"
"""Google's images that convert checkpoints. Nothing here is pulled from a registry, and the pods on TPUs that
would read what they write are said to run."""


class Waiting(Exception):  # noqa: N818 - a state, not an error
    """A container that cannot be made yet; the kubelet tries again.

    Args:
        reason: the kubelet's word for it.
        message: what is missing.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Objects(Protocol):
    """What is read of the cluster to start a pod; None for what does not exist."""

    def secret(self, namespace: str, name: str) -> Body | None: ...

    def service_account(self, namespace: str, name: str) -> Body | None: ...


def template_of(pod: Body, world: World, project: str, objects: Objects) -> dict[str, Any]:
    """The pod as a Cloud Run task template.

    What a plain process cannot be held to is passed over: limits, security context, read-only file systems.

    Args:
        pod: a pod with one container.
        world: where images and identities are.
        project: the cluster's project.
        objects: the cluster's Secrets and service accounts.

    Raises:
        Waiting: its image, service account or a Secret is not there, or it may not borrow its identity.
        StartError: it has what a rehearsal does not run.
    """
    namespace, spec = pod["metadata"]["namespace"], pod["spec"]
    if len(spec["containers"]) != 1 or spec.get("initContainers"):
        raise StartError("a rehearsed node runs pods of one container")
    container = spec["containers"][0]
    try:
        find_image(world, container["image"])
    except StartError as missing:
        raise Waiting("ImagePullBackOff", str(missing)) from missing
    return {
        "serviceAccount": _identity(namespace, spec["serviceAccountName"], world, project, objects),
        "volumes": [volume for volume in spec.get("volumes", []) if "projected" not in volume],
        "containers": [
            {
                **{key: container[key] for key in ("image", "command", "args") if key in container},
                "env": [_variable(entry, namespace, objects) for entry in container.get("env", [])],
                "volumeMounts": [
                    mount
                    for mount in container.get("volumeMounts", [])
                    if not mount["mountPath"].startswith("/var/run/secrets/")
                ],
                "resources": {"limits": container.get("resources", {}).get("limits", {})},
            }
        ],
    }


def _identity(namespace: str, account: str, world: World, project: str, objects: Objects) -> str:
    """Whom a pod is to Google: the account that it borrows, or itself.

    https://cloud.google.com/kubernetes-engine/docs/concepts/workload-identity
    """
    found = objects.service_account(namespace, account)
    if found is None:
        raise Waiting("CreateContainerConfigError", f'serviceaccount "{namespace}/{account}" not found')
    email = (found["metadata"].get("annotations") or {}).get(IDENTITY)
    if not email:
        number = world.ensure_project(project).body["number"]
        pool = f"projects/{number}/locations/global/workloadIdentityPools/{project}.svc.id.goog"
        return f"{PRINCIPAL}iam.googleapis.com/{pool}/subject/ns/{namespace}/sa/{account}"
    member = f"serviceAccount:{project}.svc.id.goog[{namespace}/{account}]"
    resource = f"iam.googleapis.com/projects/{project}/serviceAccounts/{email}"
    if not world.allows(member, "iam.serviceAccounts.getAccessToken", resource):
        raise Waiting(
            "CreateContainerConfigError",
            f"{member} may not act as {email}: it needs roles/iam.workloadIdentityUser on it",
        )
    return str(email)


def not_rehearsed(pod: Body) -> str | None:
    """Why a pod's work is only said to be done; None for one that really runs."""
    spec = pod["spec"]
    if any("persistentVolumeClaim" in volume for volume in spec.get("volumes") or ()):
        return "a rehearsed node has no disks: nothing was copied"
    if any(container.get("image", "").startswith(CONVERTERS) for container in spec["containers"]):
        return "a rehearsed node has not Google's converter: nothing was converted"
    return None


def _variable(entry: Body, namespace: str, objects: Objects) -> dict[str, str]:
    source = entry.get("valueFrom")
    if source is None:
        return {"name": entry["name"], "value": entry.get("value", "")}
    if "secretKeyRef" not in source:
        raise StartError(f"variable {entry['name']}: a rehearsed node knows values and secretKeyRef")
    reference = source["secretKeyRef"]
    secret = objects.secret(namespace, reference["name"])
    if secret is None:
        raise Waiting("CreateContainerConfigError", f'secret "{reference["name"]}" not found')
    if reference["key"] not in secret.get("data", {}):
        raise Waiting(
            "CreateContainerConfigError",
            f"couldn't find key {reference['key']} in Secret {namespace}/{reference['name']}",
        )
    payload = base64.b64decode(secret["data"][reference["key"]]).decode()
    return {"name": entry["name"], "value": payload}
