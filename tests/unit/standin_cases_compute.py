"""Refusals of disks, snapshots, routers, NAT, and of who may pass Identity-Aware Proxy."""

from __future__ import annotations

from rehearsal.standins.gcp.networks import RouterNat
from rehearsal.world import World
from tests.unit.standin_cases import Case, disabled, gone
from tests.unit.standin_world import (
    ABSENT,
    ACCEPTED,
    DISK,
    DISK_PATH,
    NAT,
    ON_IAP,
    PROJECT,
    ROUTER,
    ROUTERS,
    SNAPSHOT,
)


def _beside(world: World) -> None:
    world.insert(RouterNat.kind, f"{ROUTERS}/beside/other", {"spec": ACCEPTED[NAT]})


_SNAPSHOT_PATH = f"projects/{PROJECT}/global/snapshots/gone"

COMPUTE = [
    *(
        Case("api.compute", token, "compute.googleapis.com has not", spoil=disabled("compute"))
        for token in (DISK, SNAPSHOT, ROUTER, NAT)
    ),
    Case("api.iap", ON_IAP, "iap.googleapis.com has not", spoil=disabled("iap")),
    Case("disk.name", DISK, "'Weights'", {"name": "Weights"}),
    Case("disk.zone", DISK, "no zone is given", {"zone": ABSENT}),
    Case("disk.access_mode", DISK, "not for pd-balanced", {"type": "pd-balanced"}),
    Case("compute.source.exists", DISK, _SNAPSHOT_PATH, {"snapshot": _SNAPSHOT_PATH}),
    Case("compute.source.exists", SNAPSHOT, DISK_PATH, spoil=gone(f"compute.googleapis.com/{DISK_PATH}")),
    Case("snapshot.name", SNAPSHOT, "'Weights'", {"name": "Weights"}),
    Case("router.name", ROUTER, "'1st'", {"name": "1st"}),
    Case("nat.name", NAT, "'nat-'", {"name": "nat-"}),
    Case("nat.addresses", NAT, "'AUTO'", {"natIpAllocateOption": "AUTO"}),
    Case("nat.own_addresses", NAT, "leave natIps out", {"natIps": ["projects/p/regions/r/addresses/a"]}),
    Case("nat.ranges", NAT, "'ALL'", {"sourceSubnetworkIpRangesToNat": "ALL"}),
    Case("nat.router.exists", NAT, "routers/elsewhere", {"router": "elsewhere"}),
    Case("nat.network.once", NAT, "routers/beside/other already", spoil=_beside),
]
