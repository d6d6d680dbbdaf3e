"""Quotas of online prediction: what deployed models use in a region, and whether one more fits.

Counted is what the most replicas need, not what runs: https://cloud.google.com/vertex-ai/docs/quotas and the
discovery document, DedicatedResources.maxReplicaCount. A quota is unlimited unless a setting of the world
says otherwise: `quota.QUOTA_ID.REGION`.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from rehearsal.cloud.aiplatform.container import DEFAULT_MACHINE
from rehearsal.cloud.aiplatform.deployed import DEPLOYED
from rehearsal.cloud.aiplatform.names import SERVICE, place
from rehearsal.cloud.errors import ApiError
from rehearsal.world import World
from stacks.plan.hardware import compute_machines

_CPUS = "CPUs"
_SHORT = {"NVIDIA_H100_80GB": "H100", "NVIDIA_H100_MEGA_80GB": "H100MEGA", "NVIDIA_H200_141GB": "H200"}
"""Accelerators whose quota does not have their whole name: github.com/GoogleCloudPlatform/vertex-ai-samples,
`get_quota_id` of the model garden's `common_util.py`, as for spot machines."""


def quota_id(what: str, *, spot: bool = False) -> str:
    """The id of a quota.

    Args:
        what: `CPUs`, or Vertex AI's name of an accelerator.
        spot: whether it is that of spot machines.
    """
    short = what
    if what != _CPUS:
        whole = what.removeprefix("NVIDIA_").removeprefix("TESLA_").replace("_", "")
        short = f"{_SHORT.get(what, whole)}GPUs"
    return f"CustomModelServing{'Preemptible' if spot else ''}{short}PerProjectPerRegion"


def limit_setting(what: str, region: str, *, spot: bool = False) -> str:
    """The world's setting that limits a quota in a region."""
    return _setting(quota_id(what, spot=spot), region)


def _setting(quota: str, region: str) -> str:
    return f"quota.{quota}.{region}"


def demand(deployed_model: dict[str, Any]) -> Counter[str]:
    """What a deployed model is charged for, by quota: CPUs and accelerators of its most replicas."""
    resources = deployed_model.get("dedicatedResources") or {}
    spot = bool(resources.get("spot"))
    machine = resources.get("machineSpec") or {}
    most = resources.get("maxReplicaCount") or resources.get("minReplicaCount") or 1
    found = compute_machines().get(machine.get("machineType") or DEFAULT_MACHINE)
    needed: Counter[str] = Counter()
    if found is not None:
        needed[quota_id(_CPUS, spot=spot)] = found.cpus * most
    if machine.get("acceleratorType"):
        quota = quota_id(machine["acceleratorType"], spot=spot)
        needed[quota] = machine.get("acceleratorCount", 1) * most
    return needed


def require(world: World, name: str, deployed_model: dict[str, Any]) -> None:
    """Refuse a deployment that does not fit beside the others.

    Args:
        world: the rehearsal's world.
        name: its full name; what it used before does not count.
        deployed_model: what it is to be.

    Raises:
        ApiError: RESOURCE_EXHAUSTED, with every quota that is too small.
    """
    project, region = place(name)
    used: Counter[str] = Counter()
    for record in world.list(DEPLOYED, f"{SERVICE}/projects/{project}/locations/{region}/"):
        if record.name != name:
            used.update(demand(record.body["deployedModel"]))
    exceeded = []
    for quota, needed in demand(deployed_model).items():
        limit = world.setting(_setting(quota, region))
        if limit is not None and used[quota] + needed > int(limit):
            facts = f"{needed} needed, {used[quota]} in use, limit {limit} in {region}"
            exceeded.append(f"{quota} ({facts})")
    if exceeded:
        raise ApiError("RESOURCE_EXHAUSTED", f"The following quotas are exceeded: {', '.join(exceeded)}")
