"""Refusals of clusters and node pools."""

from __future__ import annotations

from providers.base.values import Properties
from rehearsal.world import World
from tests.unit.standin_cases import Case, disabled
from tests.unit.standin_world import ABSENT, CLUSTER, CLUSTER_NAME, NOBODY, POOL, REGION

_CONFIG = "nodeConfig"
_MULTI_HOST: Properties = {
    f"{_CONFIG}.machineType": "ct5lp-hightpu-4t",
    "placementPolicy": {"type": "COMPACT", "tpuTopology": "4x4"},
    "autoscaling": {"minNodeCount": 0, "maxNodeCount": 4},
}
"""A slice of four machines, which Google accepts."""


def _without_identity(world: World) -> None:
    world.edit(CLUSTER_NAME, lambda body: {**body, "spec": {}})


CONTAINER = [
    Case("api.container", CLUSTER, "container.googleapis.com has not", spoil=disabled("container")),
    Case("api.container", POOL, "container.googleapis.com has not", spoil=disabled("container")),
    Case("cluster.name", CLUSTER, "at most 40", {"name": "a" * 41}),
    Case("cluster.name", CLUSTER, "'1st'", {"name": "1st"}),
    Case("cluster.channel", CLUSTER, "'FAST'", {"releaseChannel.channel": "FAST"}),
    Case("cluster.first_nodes", CLUSTER, "at least 1", {"initialNodeCount": ABSENT}),
    Case(
        "cluster.workload_pool",
        CLUSTER,
        "not another.svc.id.goog",
        {"workloadIdentityConfig.workloadPool": "another.svc.id.goog"},
    ),
    Case("cluster.enable_tpu", CLUSTER, "no longer offered", {"enableTpu": True}),
    Case("pool.name", POOL, "at most 40", {"name": "a" * 41}),
    Case("pool.cluster.exists", POOL, "clusters/elsewhere", {"cluster": "elsewhere"}),
    Case("pool.cluster.exists", POOL, "europe-west4/clusters/there", {"location": "europe-west4"}),
    Case("pool.account.exists", POOL, NOBODY, {f"{_CONFIG}.serviceAccount": NOBODY}),
    Case("pool.metadata.workload_pool", POOL, "cluster there has no", spoil=_without_identity),
    Case(
        "pool.topology.single_host",
        POOL,
        "TPU topology can't be specified with single-host TPU slice pool",
        {"placementPolicy": {"type": "COMPACT", "tpuTopology": "2x4"}},
    ),
    Case(
        "pool.topology.machine",
        POOL,
        "form no slice of topology 4x4",
        {"placementPolicy": {"type": "COMPACT", "tpuTopology": "4x4"}},
    ),
    Case(
        "pool.topology.machine",
        POOL,
        "form no slice of topology 3x3",
        {**_MULTI_HOST, "placementPolicy": {"type": "COMPACT", "tpuTopology": "3x3"}},
    ),
    Case(
        "pool.topology.nodes",
        POOL,
        "Maximum node count 3 is not a valid size",
        {**_MULTI_HOST, "autoscaling": {"minNodeCount": 0, "maxNodeCount": 3}},
    ),
    Case(
        "pool.topology.nodes",
        POOL,
        "Maximum node count 0 is not a valid size",
        {**_MULTI_HOST, "autoscaling": {"totalMinNodeCount": 0, "totalMaxNodeCount": 4}},
    ),
    Case(
        "pool.topology.nodes",
        POOL,
        "Node count 1 is not a valid size",
        {**_MULTI_HOST, "autoscaling": ABSENT, "nodeCount": 1},
    ),
    Case(
        "pool.topology.zones",
        POOL,
        "not in us-central1-a, us-central1-b",
        {**_MULTI_HOST, "nodeLocations": [f"{REGION}-a", f"{REGION}-b"]},
    ),
    Case(
        "pool.topology.upgrade",
        POOL,
        "blue-green",
        {**_MULTI_HOST, "upgradeSettings": {"strategy": "BLUE_GREEN"}},
    ),
    Case(
        "pool.placement.type",
        POOL,
        "'SPREAD'",
        {**_MULTI_HOST, "placementPolicy": {"type": "SPREAD", "tpuTopology": "4x4"}},
    ),
    Case("pool.tpu.boot_disk", POOL, "pd-balanced or pd-ssd", {f"{_CONFIG}.diskType": "pd-standard"}),
    Case(
        "pool.tpu.boot_disk",
        POOL,
        "ct6e-standard-8t takes no boot disk of type pd-balanced",
        {f"{_CONFIG}.machineType": "ct6e-standard-8t"},
    ),
    Case("pool.tpu.zone", POOL, "us-central1-f is not known", {"nodeLocations": [f"{REGION}-f"]}),
    Case(
        "pool.scaling.limits",
        POOL,
        "cannot be used with totalMaxNodeCount",
        {"autoscaling": {"maxNodeCount": 2, "totalMaxNodeCount": 2}},
    ),
    Case(
        "pool.scaling.limits", POOL, "3 is more than", {"autoscaling": {"minNodeCount": 3, "maxNodeCount": 2}}
    ),
    Case(
        "pool.reservation",
        POOL,
        "needs the key compute.googleapis.com/reservation-name",
        {f"{_CONFIG}.reservationAffinity": {"consumeReservationType": "SPECIFIC_RESERVATION"}},
    ),
    Case("pool.run_duration", POOL, "'604801s'", {f"{_CONFIG}.maxRunDuration": "604801s"}),
]
