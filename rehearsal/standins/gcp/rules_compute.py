"""Predicates about disks, snapshots, routers and NAT."""

from __future__ import annotations

from collections.abc import Iterator

from providers.base.values import UNKNOWN, Properties
from rehearsal.standins.gcp.disks import disk_name, snapshot_name
from rehearsal.standins.gcp.networks import RouterNat, router_name
from rehearsal.standins.gcp.rules_common import known
from rehearsal.standins.model import Cloud
from rehearsal.standins.refusals import Finding, predicate

_EVERY_ADDRESS = ("ALL_SUBNETWORKS_ALL_IP_RANGES", "ALL_SUBNETWORKS_ALL_PRIMARY_IP_RANGES")


@predicate
def wrong_access_mode(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:  # noqa: ARG001
    """An access mode other than the default one on a disk that is no Hyperdisk."""
    mode, kind = known(inputs, "accessMode"), inputs.get("type") or "pd-standard"
    if mode not in (None, "READ_WRITE_SINGLE") and kind is not UNKNOWN and "hyperdisk" not in kind:
        yield "accessMode", {"mode": mode, "type": kind}


@predicate
def disk_without_zone(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:  # noqa: ARG001
    """A disk in no zone."""
    if inputs.get("zone") is None:
        yield "zone", {}


@predicate
def source_missing(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:
    """A disk of a snapshot, or a snapshot of a disk, that does not exist."""
    for path, name in (("snapshot", snapshot_name), ("sourceDisk", disk_name)):
        value = known(inputs, path)
        if value and cloud.world.get(name(value)) is None:
            yield path, {"source": value}


@predicate
def router_missing(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:
    """A NAT in a router that does not exist, or not in that region."""
    name = router_name({**inputs, "name": inputs["router"]})
    if cloud.world.get(name) is None:
        yield "router", {"router": name.partition("/")[2]}


@predicate
def addresses_of_nobody(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:  # noqa: ARG001
    """Own addresses for a NAT that takes Google's."""
    if known(inputs, "natIpAllocateOption") == "AUTO_ONLY" and known(inputs, "natIps"):
        yield "natIps", {}


@predicate
def network_has_nat(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:
    """Two NATs for all of a network in one region."""
    here = cloud.world.get(router_name({**inputs, "name": inputs["router"]}))
    if inputs.get("sourceSubnetworkIpRangesToNat") not in _EVERY_ADDRESS or here is None:
        return
    region = here.name.rpartition("/")[0]
    network = _network(here.body["spec"])
    for other in cloud.world.list(RouterNat.kind, f"{region}/"):
        router = other.name.rpartition("/")[0]
        found = cloud.world.get(router)
        itself = (router, other.name.rpartition("/")[2]) == (here.name, inputs["name"])
        every = other.body["spec"].get("sourceSubnetworkIpRangesToNat") in _EVERY_ADDRESS
        if not itself and every and found is not None and _network(found.body["spec"]) == network:
            yield (
                "sourceSubnetworkIpRangesToNat",
                {"network": network, "other": other.name.partition("/")[2]},
            )


def _network(router: Properties) -> str:
    """A network's short name, from its name, path or link."""
    return str(router.get("network")).rpartition("/")[2]
