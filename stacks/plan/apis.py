"""The Google APIs that a stack must have enabled.

Source: the services whose resources the components create, and the ones those depend on
(cloud.google.com/service-usage/docs, "List of services").
"""

from __future__ import annotations

from collections.abc import Iterable

_ALWAYS = ("cloudresourcemanager", "iam", "serviceusage", "storage", "artifactregistry")
_BY_TOPOLOGY = {
    "cloud-run": ("run", "iamcredentials", "logging", "monitoring"),
    "vertex": ("aiplatform", "iamcredentials", "logging", "monitoring"),
    # A cluster's nodes, disks and load balancers are Compute Engine's; pods get tokens of iamcredentials.
    "gke-tpu": ("container", "compute", "iamcredentials", "logging", "monitoring"),
}
_BY_RUNNER = {"cloud-run": ("run",), "vertex": ("aiplatform",), "kubernetes": ("container",)}
_GATEWAY = ("iap", "certificatemanager")
_HUB_TOKEN = ("secretmanager",)


def required_apis(
    topologies: Iterable[str], runners: Iterable[str], *, hub_token: bool, gateway: bool = False
) -> tuple[str, ...]:
    """Lists full service names, sorted.

    Args:
        topologies: topology of each deployment.
        runners: where each deployment's weights job runs.
        hub_token: whether jobs read a Hub token from Secret Manager.
        gateway: whether a Gateway stands before some deployment.
    """
    names = {*_ALWAYS, *(_HUB_TOKEN if hub_token else ()), *(_GATEWAY if gateway else ())}
    for topology in topologies:
        names.update(_BY_TOPOLOGY[topology])
    for runner in runners:
        names.update(_BY_RUNNER[runner])
    return tuple(sorted(f"{name}.googleapis.com" for name in names))
