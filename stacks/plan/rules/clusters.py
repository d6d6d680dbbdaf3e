"""The cluster that deployments on TPUs share, its node pools, and the disks that hold weights."""

from __future__ import annotations

from collections.abc import Iterator

from stacks.plan.gke.identity import workload_pool
from stacks.plan.hardware import chips_of, tpu_machines
from stacks.plan.report import Report
from stacks.plan.rules.facts import check_most, check_text
from stacks.plan.rules.workloads import CLUSTER, path_of
from stacks.plan.types import StackPlan
from stacks.plan.types_gke import TpuPoolPlan

_MANY_READERS = "hyperdisk-ml"
"""The type of disk that is made for READ_ONLY_MANY from a snapshot
(cloud.google.com/compute/docs/disks/hyperdisks)."""


def names(plan: StackPlan, report: Report) -> None:
    """Names of the cluster, of its pools, of its way out and of disks."""
    if plan.cluster is not None:
        check_text(report, "cluster", CLUSTER, plan.cluster.name, "is no name of a cluster")
        pool = plan.cluster.cpu_pool.name
        check_text(report, "nodePool", f"{CLUSTER}.cpuPool", pool, "is no name of a node pool")
        if plan.cluster.nat is not None:
            check_text(report, "router", f"{CLUSTER}.nat", plan.cluster.nat.name, "is no name of a router")
    for each in plan.on_tpu.values():
        check_text(report, "nodePool", path_of(each), each.pool.name, "is no name of a node pool")
        disk = each.disk
        for name in (disk.name, disk.snapshot_name, disk.copy_name) if disk is not None else ():
            if name is not None:
                check_text(report, "disk", path_of(each), name, "is no name of a disk")


def workload_pools(plan: StackPlan, report: Report) -> None:
    """Pods are known to Google in the project's own workload pool, and there is no other."""
    right = workload_pool(plan.foundation.project)
    given = [(CLUSTER, plan.cluster.workload_pool)] if plan.cluster is not None else []
    given += [(path_of(each), each.server_identity.workload_pool) for each in plan.on_tpu.values()]
    for path, pool in given:
        if pool != right:
            report.problem(path, pool, "is no workload pool of this project", f"should be {right}")


def slices(plan: StackPlan, report: Report) -> None:
    """A pool's machines make its topology, and Google hears of it exactly where it wants to."""
    for path, pool in _pools(plan):
        machine, chips = tpu_machines()[pool.machine_type], chips_of(pool.topology)
        if pool.hosts * machine.chips != chips or pool.chips_per_node != machine.chips:
            report.problem(
                path,
                pool.topology,
                f"is {chips} chips, and {pool.hosts} × {machine.name} of {machine.chips} have "
                f"{pool.hosts * machine.chips}",
                f"hosts: {chips // machine.chips}",
            )
        if pool.placement_topology != (pool.topology if pool.multi_host else None):
            report.problem(
                path,
                pool.placement_topology,
                "is no placement policy's topology: it is required for a slice on several hosts, refused "
                "for one host",
                f"{pool.topology if pool.multi_host else 'none'}",
            )


def boot_disks(plan: StackPlan, report: Report) -> None:
    """TPU machines start from a disk of a type that they take."""
    for path, pool in _pools(plan):
        machine = tpu_machines()[pool.machine_type]
        if pool.disk_type not in machine.boot_disks:
            listed = ", ".join(machine.boot_disks)
            report.problem(path, pool.disk_type, f"is no boot disk of {machine.name}", f"use {listed}")


def limits(plan: StackPlan, report: Report) -> None:
    """Fewest and most nodes of a pool; a slice on several hosts is there whole or not at all."""
    found = [(path, pool.min_nodes, pool.max_nodes) for path, pool in _pools(plan)]
    if plan.cluster is not None:
        cpu = plan.cluster.cpu_pool
        found.append((f"{CLUSTER}.cpuPool", cpu.min_nodes, cpu.max_nodes))
    for path, least, most in found:
        if not 0 <= least <= most:
            report.problem(path, least, f"is no least number of nodes below {most}", f"from 0 to {most}")
    for path, pool in _pools(plan):
        if pool.multi_host and (pool.max_nodes != pool.hosts or pool.min_nodes not in (0, pool.hosts)):
            report.problem(
                path,
                f"{pool.min_nodes} to {pool.max_nodes}",
                f"is not the size of a slice {pool.topology}, which is there whole or not at all",
                f"should be from 0 or {pool.hosts} to {pool.hosts}",
            )


def run_times(plan: StackPlan, report: Report) -> None:
    """How long a Flex-start node lives."""
    for path, pool in _pools(plan):
        if pool.max_run_seconds is not None:
            check_most(report, "runSecondsMax", path, pool.max_run_seconds, "seconds in a node's life")


def reservations(plan: StackPlan, report: Report) -> None:
    """Nodes come from one kind of capacity: reserved, spot, or when there is some."""
    for path, pool in _pools(plan):
        if sum((pool.spot, pool.flex_start, pool.reservation is not None)) > 1:
            report.problem(path, pool.name, "has several kinds of capacity", "choose one")


def disks(plan: StackPlan, report: Report) -> None:
    """A disk is where its slices are, and the one with many readers is of a type that has them."""
    for each in plan.on_tpu.values():
        disk, path = each.disk, f"{path_of(each)}.weights.volume"
        if disk is None:
            continue
        if disk.zone != each.pool.zone:
            report.problem(path, disk.zone, "is not the zone of the slices", f"should be {each.pool.zone}")
        if disk.copy_name is not None and disk.copy_type != _MANY_READERS:
            report.problem(
                path, disk.copy_type, "is no type of disk that many nodes read", f"use {_MANY_READERS}"
            )


def _pools(plan: StackPlan) -> Iterator[tuple[str, TpuPoolPlan]]:
    for each in plan.on_tpu.values():
        yield f"{path_of(each)}.tpu", each.pool


RULES = (names, workload_pools, slices, boot_disks, limits, run_times, reservations, disks)
