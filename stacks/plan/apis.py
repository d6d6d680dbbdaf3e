"""The Google APIs that a stack must have enabled.

Source: the services whose resources the components create, and the ones those depend on
(cloud.google.com/service-usage/docs, "List of services").
"""

from __future__ import annotations

from collections.abc import Iterable

_ALWAYS = ("cloudresourcemanager", "iam", "serviceusage", "storage", "artifactregistry")
_BY_TOPOLOGY = {"cloud-run": ("run", "iamcredentials", "logging", "monitoring")}
# The weights job of every topology is a Cloud Run job.
_STAGING = ("run",)
_HUB_TOKEN = ("secretmanager",)


def required_apis(topologies: Iterable[str], *, hub_token: bool) -> tuple[str, ...]:
    """Lists full service names, sorted.

    Args:
        topologies: topology of each deployment.
        hub_token: whether jobs read a Hub token from Secret Manager.
    """
    names = {*_ALWAYS, *(_HUB_TOKEN if hub_token else ())}
    for topology in topologies:
        names.update(_STAGING, _BY_TOPOLOGY[topology])
    return tuple(sorted(f"{name}.googleapis.com" for name in names))
