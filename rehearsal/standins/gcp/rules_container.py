"""Predicates about clusters and node pools."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from providers.base.values import UNKNOWN, Properties, has_unknown
from rehearsal.cluster.machines import Machine, chips_of, machine, multi_host_topologies
from rehearsal.standins.gcp.container import Cluster, cluster_of
from rehearsal.standins.gcp.rules_common import known
from rehearsal.standins.model import Cloud
from rehearsal.standins.refusals import Finding, predicate

_CONFIG = "nodeConfig"
_TOPOLOGY = "placementPolicy.tpuTopology"


def _machine(inputs: Properties) -> tuple[str, Machine] | None:
    """A pool's TPU machine type and what it is; None for any other pool."""
    name = known(known(inputs, _CONFIG), "machineType")
    found = machine(name) if isinstance(name, str) else None
    return (name, found) if found is not None and found.chips else None


def _topology(inputs: Properties) -> str | None:
    value = known(known(inputs, "placementPolicy"), "tpuTopology")
    return value if isinstance(value, str) else None


def _hosts(inputs: Properties) -> int | None:
    """How many machines a slice of several has; None for any other pool."""
    found, topology = _machine(inputs), _topology(inputs)
    if found is None or topology not in multi_host_topologies() or found[1].chips != 4:
        return None
    return chips_of(topology) // found[1].chips


@predicate
def cluster_missing(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:
    """A pool of a cluster that does not exist, or not in that location."""
    name = cluster_of(inputs)
    if cloud.world.get(name) is None:
        yield "cluster", {"cluster": name.partition("/")[2]}


@predicate
def single_host_topology(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:  # noqa: ARG001
    """A topology given for machines each of which is a whole slice of it."""
    found, topology = _machine(inputs), _topology(inputs)
    if found is not None and topology == found[1].single_host:
        yield _TOPOLOGY, {"machine": found[0], "topology": topology}


@predicate
def impossible_slice(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:  # noqa: ARG001
    """A topology that machines of this type do not form."""
    found, topology = _machine(inputs), _topology(inputs)
    if found is None or topology is None or topology == found[1].single_host:
        return
    name, kind = found
    if kind.chips != 4 or topology not in multi_host_topologies():
        yield _TOPOLOGY, {"machine": name, "chips": kind.chips, "own": kind.single_host, "topology": topology}


@predicate
def wrong_slice_size(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:  # noqa: ARG001
    """A slice of several machines with another number of nodes than it has machines."""
    hosts = _hosts(inputs)
    scaling = inputs.get("autoscaling")
    if hosts is None:
        return
    facts = {"topology": _topology(inputs), "hosts": hosts}
    if isinstance(scaling, dict):
        limit = known(scaling, "maxNodeCount")
        if limit != hosts and scaling.get("maxNodeCount") is not UNKNOWN:
            count = 0 if limit is None else limit
            yield "autoscaling.maxNodeCount", {**facts, "what": f"Maximum node count {count}"}
        return
    for name in ("nodeCount", "initialNodeCount"):
        count = known(inputs, name)
        if count is not None and count != hosts:
            yield name, {**facts, "what": f"Node count {count}"}


@predicate
def slice_across_zones(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:  # noqa: ARG001
    """Machines that are to be close together, in more than one zone."""
    zones = known(inputs, "nodeLocations")
    if known(inputs, "placementPolicy") is not None and isinstance(zones, list) and len(zones) > 1:
        yield "nodeLocations", {"zones": ", ".join(map(str, zones))}


@predicate
def compact_blue_green(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:  # noqa: ARG001
    """Blue-green upgrades of machines that are to be close together."""
    strategy = known(known(inputs, "upgradeSettings"), "strategy")
    if known(inputs, "placementPolicy") is not None and strategy == "BLUE_GREEN":
        yield "upgradeSettings.strategy", {}


@predicate
def wrong_boot_disk(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:  # noqa: ARG001
    """A boot disk of a type that the TPU machine does not take."""
    found, disk = _machine(inputs), known(known(inputs, _CONFIG), "diskType")
    if found is not None and isinstance(disk, str) and disk not in found[1].boot_disks:
        yield (
            f"{_CONFIG}.diskType",
            {"machine": found[0], "disk": disk, "allowed": " or ".join(found[1].boot_disks)},
        )


@predicate
def tpu_elsewhere(cloud: Cloud, inputs: Properties, zones: dict[str, list[str]]) -> Iterator[Finding]:  # noqa: ARG001
    """A zone in which the TPU generation is not known to be."""
    found = _machine(inputs)
    location = known(inputs, "location")
    zone_of_cluster = [location] if isinstance(location, str) and location.count("-") == 2 else []
    places = known(inputs, "nodeLocations") or zone_of_cluster
    if found is None or has_unknown(places):
        return
    for zone in places:
        if zone not in zones[found[1].label]:
            yield _CONFIG, {"machine": found[0], "zone": zone}


@predicate
def mixed_scaling_limits(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:  # noqa: ARG001
    """Limits for each zone together with limits for all of them, or a minimum above its maximum."""
    scaling = known(inputs, "autoscaling") or {}
    zonal = [name for name in ("minNodeCount", "maxNodeCount") if scaling.get(name) is not None]
    total = [name for name in ("totalMinNodeCount", "totalMaxNodeCount") if scaling.get(name) is not None]
    if zonal and total:
        yield "autoscaling", {"what": f"{' and '.join(zonal)} cannot be used with {' and '.join(total)}"}
    for low, high in (("minNodeCount", "maxNodeCount"), ("totalMinNodeCount", "totalMaxNodeCount")):
        least, most = known(scaling, low) or 0, known(scaling, high)
        if most is not None and least > most:
            yield f"autoscaling.{low}", {"what": f"{least} is more than {high}, {most}"}


@predicate
def unnamed_reservation(cloud: Cloud, inputs: Properties, key: str) -> Iterator[Finding]:  # noqa: ARG001
    """A specific reservation without its name."""
    affinity = known(known(inputs, _CONFIG), "reservationAffinity")
    if known(affinity, "consumeReservationType") != "SPECIFIC_RESERVATION":
        return
    if affinity.get("key") not in (key, UNKNOWN) or not affinity.get("values"):
        yield f"{_CONFIG}.reservationAffinity", {"key": key}


@predicate
def long_run(cloud: Cloud, inputs: Properties, limit: int) -> Iterator[Finding]:  # noqa: ARG001
    """Nodes that are to live longer than Google lets them."""
    duration = known(known(inputs, _CONFIG), "maxRunDuration")
    if isinstance(duration, str):
        seconds = duration.removesuffix("s")
        if not duration.endswith("s") or not seconds.isdecimal() or int(seconds) > limit:
            yield f"{_CONFIG}.maxRunDuration", {"value": duration, "limit": limit}


@predicate
def foreign_workload_pool(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:  # noqa: ARG001
    """A workload identity pool that is not the project's own."""
    pool, project = known(known(inputs, "workloadIdentityConfig"), "workloadPool"), known(inputs, "project")
    if isinstance(pool, str) and isinstance(project, str) and pool != f"{project}.svc.id.goog":
        yield "workloadIdentityConfig.workloadPool", {"pool": pool, "own": f"{project}.svc.id.goog"}


@predicate
def metadata_without_pool(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:
    """GKE's metadata server on nodes of a cluster without a workload identity pool."""
    mode = known(known(known(inputs, _CONFIG), "workloadMetadataConfig"), "mode")
    record = cloud.world.get(cluster_of(inputs))
    if mode != "GKE_METADATA" or record is None or record.kind != Cluster.kind:
        return
    if not (record.body["spec"].get("workloadIdentityConfig") or {}).get("workloadPool"):
        yield f"{_CONFIG}.workloadMetadataConfig.mode", {"cluster": record.body["name"]}


@predicate
def cluster_without_pool(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:  # noqa: ARG001
    """A cluster that says nothing about its first nodes."""
    given: list[Any] = [inputs.get(name) for name in ("nodePools", "enableAutopilot")]
    if not any(given) and not inputs.get("initialNodeCount"):
        yield "initialNodeCount", {}


@predicate
def true_value(cloud: Cloud, inputs: Properties, path: str) -> Iterator[Finding]:  # noqa: ARG001
    """A switch that is on."""
    if known(inputs, path) is True:
        yield path, {}
