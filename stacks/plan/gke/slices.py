"""The TPU slice of a replica: which machine and topology go together, on how many hosts, and in which zone.

A slice whose topology is a machine's own is on one host, and a pool has any number of such slices. Every
other one is made of machines with four chips: the pool is that one slice, whole or not at all, and each of
its pods gets four chips and no more (cloud.google.com/kubernetes-engine/docs/concepts/tpus).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from stacks.config_errors import suggest
from stacks.plan import naming
from stacks.plan.hardware import (
    TpuMachine,
    TpuSlice,
    chips_of,
    is_zone_of,
    tpu_machines,
    tpu_slices,
    tpu_topologies,
    zones,
)
from stacks.plan.report import Report
from stacks.plan.types_gke import TpuPoolPlan

if TYPE_CHECKING:
    from stacks.config_gke import Tpu, TpuScaling

RESOURCE: Final = "google.com/tpu"
"""What nodes offer and pods ask for: chips."""
TAINT_KEY: Final = "google.com/tpu"
ACCELERATOR_LABEL: Final = "cloud.google.com/gke-tpu-accelerator"
TOPOLOGY_LABEL: Final = "cloud.google.com/gke-tpu-topology"
POOL_LABEL: Final = "cloud.google.com/gke-nodepool"

_BOOT_DISK_GB = 100
"""Room for the server's image, about 15 GB unpacked, and its logs. Assumed."""
_HOUR = 3600
_WEEK_HOURS = 7 * 24


def wanted_slices(tpu: Tpu, engine: str, path: str, report: Report) -> tuple[TpuSlice, ...]:
    """Lists the slices that a configuration leaves to choose from, smallest first; none where it is refused.

    Args:
        tpu: what a person wrote.
        engine: what runs on the slice, on one host.
        path: path of the deployment in the stack file.
        report: receives what is wrong, with the arithmetic.
    """
    path = f"{path}.tpu"
    machine = _machine(tpu, path, report)
    if tpu.machine is not None and machine is None:
        return ()
    if tpu.topology is not None and tpu.topology not in tpu_topologies(tpu.accelerator):
        listed = suggest(tpu.topology, tpu_topologies(tpu.accelerator))
        report.problem(f"{path}.topology", tpu.topology, f"is no topology of {tpu.accelerator}", listed)
        return ()
    found = tuple(
        part
        for part in tpu_slices(tpu.accelerator)
        if tpu.topology in (None, part.topology)
        and tpu.machine in (None, part.machine)
        # A machine alone means its own slice.
        and (tpu.topology is not None or not part.multi_host)
    )
    if not found and machine is not None and tpu.topology is not None:
        report.problem(f"{path}.machine", machine.name, *_misfit(machine, tpu.topology))
        return ()
    on_one = tuple(part for part in found if not part.multi_host)
    if found and not on_one:
        key, value = ("machine", tpu.machine) if tpu.machine else ("topology", tpu.topology)
        report.problem(f"{path}.{key}", value, *_several_hosts(found[0], engine))
    return on_one


def arithmetic(part: TpuSlice) -> str:
    """Says what a slice is made of: `2x4 is 8 chips = 2 hosts of 4 chips`."""
    each = part.chips // part.hosts
    hosts = "1 host" if part.hosts == 1 else f"{part.hosts} hosts"
    return f"{part.topology} is {_chips(part.chips)} = {hosts} of {_chips(each)}"


def pool(
    deployment: str,
    part: TpuSlice,
    tpu: Tpu,
    scaling: TpuScaling,
    zone: str,
    resource_labels: Mapping[str, str],
) -> TpuPoolPlan:
    """Plans the node pool of a deployment's slices.

    Args:
        deployment: its name.
        part: the slice of one replica.
        tpu: how its nodes are had.
        scaling: how many slices there are.
        zone: where; a slice is in one zone.
        resource_labels: Google's labels of the nodes.
    """
    machine = tpu_machines()[part.machine]
    name = naming.tpu_pool(deployment)
    flex = tpu.capacity == "flex-start"
    least, most = limits(part, scaling.min, scaling.most + scaling.surge, flex_start=flex)
    return TpuPoolPlan(
        name=name,
        machine_type=machine.name,
        accelerator=part.accelerator,
        topology=part.topology,
        chips=part.chips,
        chips_per_node=part.chips // part.hosts,
        hosts=part.hosts,
        zone=zone,
        min_nodes=least,
        max_nodes=most,
        disk_type=machine.boot_disks[0],
        disk_gb=_BOOT_DISK_GB,
        spot=tpu.capacity == "spot",
        flex_start=flex,
        max_run_seconds=(tpu.max_run_hours or _WEEK_HOURS) * _HOUR if flex else None,
        reservation=tpu.reservation,
        placement_topology=part.topology if part.multi_host else None,
        node_labels=node_labels(machine, part.topology, name),
        taint_key=TAINT_KEY,
        resource_labels=resource_labels,
    )


def limits(part: TpuSlice, replicas: int, most: int, *, flex_start: bool) -> tuple[int, int]:
    """Gives the fewest and most nodes that a pool may have.

    A slice on several hosts is made whole or not at all. Flex-start nodes come when a pod asks for them, and
    none are kept.
    """
    if part.multi_host:
        return 0, part.hosts
    return (0 if flex_start else replicas), most


def node_labels(machine: TpuMachine, topology: str, pool_name: str) -> dict[str, str]:
    """Gives the labels that GKE puts on the nodes of a TPU pool."""
    return {ACCELERATOR_LABEL: machine.gke_label, TOPOLOGY_LABEL: topology, POOL_LABEL: pool_name}


def choose_zone(tpu: Tpu, stack_zone: str | None, region: str, path: str, report: Report) -> str | None:
    """Decides the zone of a deployment's slices; None where somebody has to say it, which is reported.

    Args:
        tpu: what a person wrote.
        stack_zone: `gcp:zone`.
        region: `gcp:region`.
        path: path of the deployment in the stack file.
        report: receives what is wrong.
    """
    path, known = f"{path}.tpu.zone", zones(tpu.accelerator)
    listed = [zone for zone in (known.value if known else []) if is_zone_of(zone, region)]
    wanted = tpu.zone or (stack_zone if stack_zone in listed else None)
    if wanted is None and listed:
        if tpu.reservation is not None and len(listed) > 1:
            report.warn(
                f"{path}: reservation {tpu.reservation} is taken to be in {listed[0]}; no node comes if it "
                f"is in another of {', '.join(listed)}: write its zone"
            )
        return listed[0]
    if wanted is None:
        where = ", ".join(known.value) if known else "none"
        report.problem(
            path,
            None,
            f"is required: no zone of {region} is known to have {tpu.accelerator}",
            f"name one of {region}, or set gcp:region to the region of one of {where}",
        )
        return None
    if not is_zone_of(wanted, region):
        report.problem(
            path,
            wanted,
            f"is not in gcp:region ({region})",
            f"write one of {', '.join(listed) or region + '-…'}",
        )
        return None
    if wanted not in listed:
        found = f"{', '.join(listed)} of {region} have it" if listed else f"no zone of {region} is known to"
        report.warn(f"{path}: {wanted} is not known to have {tpu.accelerator} (unconfirmed); {found}")
    return wanted


def _machine(tpu: Tpu, path: str, report: Report) -> TpuMachine | None:
    if tpu.machine is None:
        return None
    machine = tpu_machines().get(tpu.machine)
    own = [name for name, one in tpu_machines().items() if one.accelerator == tpu.accelerator]
    if machine is None:
        reason = f"is no machine type with {tpu.accelerator} chips"
        report.problem(f"{path}.machine", tpu.machine, reason, suggest(tpu.machine, own))
    elif machine.accelerator != tpu.accelerator:
        report.problem(
            f"{path}.machine",
            machine.name,
            f"has {machine.accelerator} chips, and accelerator is {tpu.accelerator}",
            f"write accelerator: {machine.accelerator}, or one of {', '.join(own)}",
        )
        return None
    return machine


def _misfit(machine: TpuMachine, topology: str) -> tuple[str, str]:
    """Says why machines of a type do not make a topology, and what does."""
    chips, each = chips_of(topology), machine.chips
    alone = [part for part in tpu_slices(machine.accelerator) if not part.multi_host]
    makers = [f"machine: {part.machine} ({_hosts(part)})" for part in alone if part.topology == topology]
    remedy = " or ".join([*makers, f"topology: {machine.single_host_topology}, which it makes alone"])
    if each > chips:
        why = f"has {_chips(each)}, and {topology} is {_chips(chips)}: a machine is no part of two slices"
    elif chips % each:
        why = f"has {_chips(each)}, and {topology} is {_chips(chips)}, which is no whole number of machines"
    else:
        why = (
            f"has {_chips(each)}, so {topology} would be {_chips(chips)} = {chips // each} machines, and "
            "only machines with 4 chips make a slice together"
        )
    return why, f"write {remedy}"


def _several_hosts(part: TpuSlice, engine: str) -> tuple[str, str]:
    """Says why a slice on several hosts is none for an engine on one, and what is."""
    each = part.chips // part.hosts
    why = (
        f"{arithmetic(part)}: a multi-host slice, whose pods get {_chips(each)} each and none {part.chips}; "
        f"{engine} runs on one host"
    )
    alone = [one for one in tpu_slices(part.accelerator) if not one.multi_host]
    same = [one for one in alone if one.topology == part.topology]
    if same:
        return why, f"use {same[0].machine}: {_hosts(same[0])}, and pods get all {same[0].chips}"
    largest = alone[-1]
    return why, (
        f"the largest slice on one host is {largest.topology}, machine: {largest.machine}; "
        "more replicas (scaling.min) answer more requests"
    )


def _hosts(part: TpuSlice) -> str:
    hosts = "one host" if part.hosts == 1 else f"{part.hosts} hosts"
    return f"{hosts} of {_chips(part.chips // part.hosts)}"


def _chips(count: int) -> str:
    return "1 chip" if count == 1 else f"{count} chips"
