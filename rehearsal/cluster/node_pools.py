"""The nodes that a node pool of GKE has: names, labels, taints, capacity.

Labels and taints: https://cloud.google.com/kubernetes-engine/docs/how-to/tpus and
https://kubernetes.io/docs/reference/labels-annotations-taints/
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rehearsal.cluster.machines import Machine, machine

Body = Mapping[str, Any]

TPU = "google.com/tpu"
POOL_LABEL = "cloud.google.com/gke-nodepool"
ACCELERATOR_LABEL = "cloud.google.com/gke-tpu-accelerator"
TOPOLOGY_LABEL = "cloud.google.com/gke-tpu-topology"
DEFAULT_MACHINE = "e2-medium"
"""container.v1 discovery document, NodeConfig.machineType."""

_GIB = 1024**3
_PODS = 110
_DISK_GB = 100
_EFFECTS = {"NO_SCHEDULE": "NoSchedule", "PREFER_NO_SCHEDULE": "PreferNoSchedule", "NO_EXECUTE": "NoExecute"}
_TPU_TAINT = {"key": TPU, "value": "present", "effect": "NoSchedule"}


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """A node as its pool makes it.

    Attributes:
        name: its name.
        labels: its labels.
        taints: its taints.
        capacity: what it has.
        allocatable: what of that pods can use.
    """

    name: str
    labels: Mapping[str, str]
    taints: Sequence[Mapping[str, str]]
    capacity: Mapping[str, str]
    allocatable: Mapping[str, str]

    @property
    def has_chips(self) -> bool:
        """Whether it is a TPU machine."""
        return TPU in self.capacity


class UnknownMachineError(ValueError):
    """A pool whose machine type the table does not know."""


def pool_nodes(cluster: str, location: str, pool: Body) -> list[NodeSpec]:
    """The nodes of a pool. One that is scaled automatically has its maximum: nobody scales it here.

    Args:
        cluster: the cluster's short name.
        location: the cluster's region or zone.
        pool: the pool's inputs, as the provider names them.

    Raises:
        UnknownMachineError: the machine type is not known.
    """
    config = pool.get("nodeConfig") or {}
    name = str(config.get("machineType") or DEFAULT_MACHINE)
    kind = machine(name)
    if kind is None:
        raise UnknownMachineError(f"node pool {pool['name']}: machine type {name} is not known here")
    zones = _zones(location, pool)
    stem = f"gke-{cluster}-{pool['name']}"[:40].rstrip("-")
    digest = hashlib.sha256(f"{cluster}/{pool['name']}".encode()).hexdigest()[:8]
    return [
        _node(f"{stem}-{digest}-{zone[-1]}{index}", zone, name, kind, pool)
        for zone, count in _counts(zones, pool)
        for index in range(count)
    ]


def _zones(location: str, pool: Body) -> list[str]:
    given = pool.get("nodeLocations")
    if given:
        return sorted(given)
    # A region has its default zones; which ones they are differs, that there are three does not.
    return [location] if location.count("-") == 2 else [f"{location}-{letter}" for letter in "abc"]


def _counts(zones: Sequence[str], pool: Body) -> list[tuple[str, int]]:
    """How many nodes each zone has."""
    scaling = pool.get("autoscaling") or {}
    total = scaling.get("totalMaxNodeCount")
    if total:
        share, rest = divmod(int(total), len(zones))
        return [(zone, share + (index < rest)) for index, zone in enumerate(zones)]
    given = (
        [scaling.get("maxNodeCount")] if scaling else [pool.get("nodeCount"), pool.get("initialNodeCount")]
    )
    each = next((int(count) for count in given if count is not None), 1)
    return [(zone, each) for zone in zones]


def _node(name: str, zone: str, machine_type: str, kind: Machine, pool: Body) -> NodeSpec:
    config = pool.get("nodeConfig") or {}
    taints = [
        {"key": each["key"], "value": each["value"], "effect": _EFFECTS[each["effect"]]}
        for each in config.get("taints") or ()
    ]
    if kind.chips and _TPU_TAINT not in taints:
        taints.append(dict(_TPU_TAINT))
    disk = int(config.get("diskSizeGb") or _DISK_GB)
    chips = {TPU: str(kind.chips)} if kind.chips else {}
    shared = {"pods": str(_PODS), **chips}
    return NodeSpec(
        name,
        {**dict(config.get("labels") or {}), **_labels(name, zone, machine_type, kind, pool)},
        taints,
        {
            "cpu": str(kind.cpu),
            "memory": str(int(kind.memory * _GIB)),
            "ephemeral-storage": str(disk * 10**9),
            **shared,
        },
        {
            "cpu": f"{int(kind.allocatable_cpu * 1000)}m",
            "memory": str(int(kind.allocatable_memory * _GIB)),
            "ephemeral-storage": str(int(_allocatable_disk(disk) * 10**9)),
            **shared,
        },
    )


def _allocatable_disk(size: int) -> float:
    """GB of a boot disk for pods: https://cloud.google.com/kubernetes-engine/docs/concepts/plan-node-sizes"""
    return size * 0.9 - min(size * 0.5, size * 0.35 + 6, 100)


def _labels(name: str, zone: str, machine_type: str, kind: Machine, pool: Body) -> dict[str, str]:
    config = pool.get("nodeConfig") or {}
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "node.kubernetes.io/instance-type": machine_type,
        "topology.kubernetes.io/zone": zone,
        "topology.kubernetes.io/region": zone.rpartition("-")[0],
        # By this one the driver of Google's disks says where a disk can be mounted
        # (github.com/kubernetes-sigs/gcp-compute-persistent-disk-csi-driver).
        "topology.gke.io/zone": zone,
        "cloud.google.com/machine-family": machine_type.partition("-")[0],
        POOL_LABEL: str(pool["name"]),
    }
    if kind.chips:
        asked = (pool.get("placementPolicy") or {}).get("tpuTopology")
        labels[ACCELERATOR_LABEL] = kind.label
        labels[TOPOLOGY_LABEL] = str(asked or kind.single_host)
    if config.get("spot"):
        labels["cloud.google.com/gke-spot"] = "true"
    if (config.get("workloadMetadataConfig") or {}).get("mode") == "GKE_METADATA":
        labels["iam.gke.io/gke-metadata-server-enabled"] = "true"
    return labels
