"""Weights jobs that are custom jobs of Vertex AI: where, on what machine, with how much beside it."""

from __future__ import annotations

from collections.abc import Iterator

from stacks.plan.hardware import compute_machines
from stacks.plan.limits import vertex_limits
from stacks.plan.report import Report
from stacks.plan.rules.facts import tell
from stacks.plan.rules.workloads import path_of
from stacks.plan.runners import VERTEX
from stacks.plan.types import CloudRunPlan, DeploymentPlan, StackPlan
from stacks.plan.types_weights import VertexMachinePlan


def machines(plan: StackPlan, report: Report) -> None:
    """A custom job names a machine type that Vertex AI trains on."""
    known = compute_machines()
    for path, each, machine in _jobs(plan):
        if machine is None:
            report.problem(path, each.weights.job_name, "is a custom job without a machine", "choose one")
        elif machine.machine_type not in known or not known[machine.machine_type].vertex_training:
            report.problem(
                path,
                machine.machine_type,
                "is no machine type that Vertex AI trains on",
                "use one of stacks/plan/data/machines.yaml with vertexTraining",
            )


def disks(plan: StackPlan, report: Report) -> None:
    """Kind and size of a custom job's boot disk."""
    limits = vertex_limits()
    for path, _, machine in _jobs(plan):
        if machine is None:
            continue
        if machine.boot_disk_type not in limits.boot_disk_types.value:
            listed = ", ".join(limits.boot_disk_types.value)
            report.problem(path, machine.boot_disk_type, "is no kind of boot disk", f"use {listed}")
        least = limits.boot_disk_min
        if machine.boot_disk_gb < least.value:
            tell(
                report,
                least,
                path,
                machine.boot_disk_gb,
                "is too small for a boot disk",
                f"at least {least.value} GB",
            )


def regions(plan: StackPlan, report: Report) -> None:
    """A custom job runs in a region where Vertex AI has an address."""
    known = vertex_limits().regions.value
    for path, each, _ in _jobs(plan):
        # A cluster may be in a zone; the job is in the stack's region then.
        location = each.location if isinstance(each, CloudRunPlan) else plan.foundation.region
        if location not in known:
            report.problem(path, location, "is a region without Vertex AI", f"use {', '.join(known)}")


def variables(plan: StackPlan, report: Report) -> None:
    """A custom job's container has so many environment variables at most."""
    most = vertex_limits().variables_max.value
    for path, each, _ in _jobs(plan):
        if len(each.weights.env) > most:
            report.problem(
                path, len(each.weights.env), "is too many environment variables", f"at most {most}"
            )


def _jobs(plan: StackPlan) -> Iterator[tuple[str, DeploymentPlan, VertexMachinePlan | None]]:
    for each in plan.deployments.values():
        if each.weights.runner == VERTEX:
            yield f"{path_of(each)}.weights.runner", each, each.weights.vertex


RULES = (machines, disks, regions, variables)
