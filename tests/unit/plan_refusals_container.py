"""How the plan catches refusals of clusters, node pools and disks."""

from __future__ import annotations

from collections.abc import Sequence

from stacks.plan.types_gke import NatPlan
from tests.components.conftest import Registered
from tests.unit.gke_stacks import stack
from tests.unit.plan_evidence import (
    Broken,
    Change,
    Impossible,
    Proof,
    Refused,
    Warned,
    after,
    always_given,
    cluster,
    inside,
    never_given,
    only,
    replace,
    values,
    without_api,
)
from tests.unit.standin_world import ACCOUNT

CLUSTER, POOL = "gcp:container/cluster:Cluster", "gcp:container/nodePool:NodePool"
DISK, SNAPSHOT = "gcp:compute/disk:Disk", "gcp:compute/snapshot:Snapshot"
ROUTER, NAT = "gcp:compute/router:Router", "gcp:compute/routerNat:RouterNat"
_PATH = "llm:deployments.llama"
_ONE_HOST = "no engine here runs on a slice of several hosts, so no pool has a placement policy"


WHOLE = stack(
    weights={"volume": "disk"},
    scaling={"min": 2},
    access={"expose": "gateway", "host": "llm.example.com", "certificateMap": "llm"},
)
"""A stack with everything that can be wrong: two disks, a snapshot, a Gateway."""


def pool(**changes: object) -> Change:
    """Changes the pool of the only deployment."""
    return inside("pool", **changes)


def _node_account(plan_email: str) -> Change:
    return lambda plan: cluster(
        account=replace(plan.cluster.account, email=plan_email) if plan.cluster else None
    )(plan)


def _copies_are_for_many_readers(resources: Sequence[Registered]) -> None:
    for each in resources:
        if each.type == DISK and "accessMode" in each.inputs:
            assert (each.inputs["type"], each.inputs["accessMode"]) == ("hyperdisk-ml", "READ_ONLY_MANY")


def _copies_come_from_snapshots_of_disks(resources: Sequence[Registered]) -> None:
    after([SNAPSHOT], DISK)(resources)
    for each in resources:
        if each.type == DISK and "snapshot" in each.inputs:
            after([DISK], SNAPSHOT)([each])


def _at_most_one(kind: str) -> Proof:
    def proof(resources: Sequence[Registered]) -> None:
        assert len([each for each in resources if each.type == kind]) <= 1

    return proof


def _one_kind_of_limits(resources: Sequence[Registered]) -> None:
    for scaling in values(resources, [POOL], "autoscaling"):
        assert len({name.startswith("total") for name in scaling if name != "locationPolicy"}) == 1


def _reservations_have_names(resources: Sequence[Registered]) -> None:
    for affinity in values(resources, [POOL], "nodeConfig.reservationAffinity"):
        specific = affinity["consumeReservationType"] == "SPECIFIC_RESERVATION"
        assert specific == bool(affinity.get("values"))


CONTAINER: list[Broken | Refused | Warned | Impossible] = [
    Broken("api.container", '"container.googleapis.com" is not enabled', without_api("container"), tpu=True),
    Broken("api.compute", '"compute.googleapis.com" is not enabled', without_api("compute"), tpu=True),
    Broken("api.iap", '"iap.googleapis.com" is not enabled', without_api("iap"), tpu=True),
    Broken("cluster.name", "is no name of a cluster", cluster(name="c" * 41), tpu=True),
    Refused(
        "cluster.channel",
        "llm:cluster.releaseChannel",
        "is not a valid value",
        {**stack(), "llm:cluster": {"releaseChannel": "fast"}},
    ),
    Impossible("cluster.first_nodes", "the component gives one", only([CLUSTER], "initialNodeCount", 1)),
    Broken(
        "cluster.workload_pool",
        "is no workload pool of this project",
        cluster(workload_pool="other.svc.id.goog"),
        tpu=True,
    ),
    Impossible("cluster.enable_tpu", "no component gives it", never_given([CLUSTER], "enableTpu")),
    Broken("pool.name", "is no name of a node pool", pool(name="p" * 41), tpu=True),
    Impossible("pool.cluster.exists", "a pool takes its cluster's id", after([POOL], CLUSTER)),
    Broken(
        "pool.account.exists",
        "is no service account of this stack",
        _node_account("other@acme-ml-dev.iam.gserviceaccount.com"),
        tpu=True,
    ),
    Impossible("pool.account.exists", "a pool is made after its account", after([POOL], ACCOUNT)),
    Impossible(
        "pool.metadata.workload_pool",
        "every cluster has a workload pool",
        always_given([CLUSTER], "workloadIdentityConfig.workloadPool"),
    ),
    Broken("pool.topology.single_host", "refused for one host", pool(placement_topology="2x4"), tpu=True),
    Broken(
        "pool.topology.machine",
        "2 × ct5lp-hightpu-8t of 8 have 16",
        pool(hosts=2, placement_topology="2x4"),
        tpu=True,
    ),
    Refused(
        "pool.topology.machine",
        f"{_PATH}.tpu.machine",
        "only machines with 4 chips make a slice together",
        stack(tpu={"machine": "ct5lp-hightpu-8t", "topology": "4x4"}),
    ),
    Broken(
        "pool.topology.nodes",
        "is not the size of a slice 2x4",
        pool(
            machine_type="ct5lp-hightpu-4t", hosts=2, chips_per_node=4, placement_topology="2x4", max_nodes=3
        ),
        tpu=True,
    ),
    Refused(
        "pool.topology.nodes",
        f"{_PATH}.tpu.machine",
        "2x4 is 8 chips = 2 hosts of 4 chips",
        stack(tpu={"machine": "ct5lp-hightpu-4t", "topology": "2x4"}),
    ),
    Impossible("pool.topology.zones", _ONE_HOST, never_given([POOL], "placementPolicy")),
    Impossible("pool.topology.upgrade", _ONE_HOST, never_given([POOL], "placementPolicy")),
    Impossible("pool.placement.type", _ONE_HOST, never_given([POOL], "placementPolicy")),
    Broken(
        "pool.tpu.boot_disk", "is no boot disk of ct5lp-hightpu-8t", pool(disk_type="pd-standard"), tpu=True
    ),
    Warned(
        "pool.tpu.zone",
        "us-west1-a is not known to have v5e (unconfirmed)",
        stack(tpu={"zone": "us-west1-a"}),
    ),
    Broken("pool.scaling.limits", "is no least number of nodes", pool(min_nodes=9), tpu=True),
    Impossible("pool.scaling.limits", "each pool has one kind of limits", _one_kind_of_limits),
    Refused(
        "pool.reservation", f"{_PATH}.tpu.reservation", "reservation", stack(tpu={"capacity": "reservation"})
    ),
    Impossible("pool.reservation", "the component names it", _reservations_have_names),
    Broken("pool.run_duration", "seconds in a node's life", pool(max_run_seconds=604_801), tpu=True),
    Refused(
        "pool.run_duration",
        f"{_PATH}.tpu.maxRunHours",
        "168",
        stack(tpu={"capacity": "flex-start", "maxRunHours": 169}),
    ),
    Broken("disk.name", "is no name of a disk", inside("disk", copy_name="D"), tpu=True),
    Impossible("disk.zone", "the component gives one", always_given([DISK], "zone")),
    Broken(
        "disk.access_mode",
        "is no type of disk that many nodes read",
        inside("disk", copy_type="pd-balanced"),
        tpu=True,
    ),
    Impossible("disk.access_mode", "only copies have one", _copies_are_for_many_readers),
    Impossible(
        "compute.source.exists",
        "each takes the id of what it is made from",
        _copies_come_from_snapshots_of_disks,
    ),
    Broken("snapshot.name", "is no name of a disk", inside("disk", snapshot_name="S"), tpu=True),
    Broken("router.name", "is no name of a router", cluster(nat=NatPlan("R", "us-west1")), tpu=True),
    Broken("nat.name", "is no name of a router", cluster(nat=NatPlan("R", "us-west1")), tpu=True),
    Impossible("nat.addresses", "the component names it", only([NAT], "natIpAllocateOption", "AUTO_ONLY")),
    Impossible("nat.own_addresses", "no component gives it", never_given([NAT], "natIps")),
    Impossible(
        "nat.ranges",
        "the component names it",
        only([NAT], "sourceSubnetworkIpRangesToNat", "ALL_SUBNETWORKS_ALL_IP_RANGES"),
    ),
    Impossible("nat.router.exists", "it takes its router's name from the router", after([NAT], ROUTER)),
    Impossible(
        "nat.network.once",
        "a stack has one; whether its network has another is for Google alone to know, and llm:cluster takes "
        "nat: false",
        _at_most_one(NAT),
    ),
]
