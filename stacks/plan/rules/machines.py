"""CPUs, memory and GPUs of services and jobs: what Cloud Run offers, by `data/cloud_run.yaml`.

Limits of a GPU that are unconfirmed are not asked again here: the choice of the machine has warned of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from stacks.plan.limits import cloud_run_limits
from stacks.plan.quantity import memory_text, parse_memory
from stacks.plan.report import Report
from stacks.plan.rules.workloads import Workload, path_of, workloads
from stacks.plan.runners import CLOUD_RUN
from stacks.plan.types import StackPlan

_CPU = re.compile(r"(\d+(?:\.\d+)?)(m)?")


def quantities(plan: StackPlan, report: Report) -> None:
    """CPUs and memory are written as Kubernetes quantities."""
    for each in workloads(plan):
        if _cpus(each) is None:
            report.problem(f"{each.path}.resources.cpu", each.cpu, "is no number of CPUs", "write 2 or 1000m")
        if parse_memory(each.memory) is None:
            report.problem(
                f"{each.path}.resources.memory", each.memory, "is no amount of memory", "write 4Gi or 512Mi"
            )


def cpu_counts(plan: StackPlan, report: Report) -> None:
    """Without a GPU: one of the numbers of CPUs that there are; less than one is only warned of."""
    offered = cloud_run_limits().cpus.value
    for each, cpus, _ in _sized(plan):
        if each.gpu is not None or cpus in offered:
            continue
        if cpus < 1:
            report.warn(f"{each.path}.resources.cpu = {each.cpu}: has conditions of its own (unconfirmed)")
        else:
            listed = ", ".join(map(str, offered))
            report.problem(
                f"{each.path}.resources.cpu", each.cpu, "is no number of CPUs that there is", f"use {listed}"
            )


def memory_for_cpus(plan: StackPlan, report: Report) -> None:
    """Without a GPU: as much memory as so many CPUs need."""
    for each, cpus, memory in _sized(plan):
        least = cloud_run_limits().memory_by_cpu.value.get(int(cpus), 0)
        if each.gpu is None and memory < least:
            report.problem(
                f"{each.path}.resources.memory",
                each.memory,
                f"is too little for {each.cpu} CPUs",
                f"at least {memory_text(least)}",
            )


def cpus_for_memory(plan: StackPlan, report: Report) -> None:
    """Without a GPU: as many CPUs as so much memory needs."""
    for each, cpus, memory in _sized(plan):
        least = cloud_run_limits().least_cpu(memory)
        if each.gpu is None and 1 <= cpus < least:
            report.problem(
                f"{each.path}.resources.cpu",
                each.cpu,
                f"is too few CPUs for {each.memory}",
                f"at least {least}",
            )


def memory_range(plan: StackPlan, report: Report) -> None:
    """Without a GPU: an amount of memory that there is."""
    limits = cloud_run_limits()
    least, most = limits.memory_min.value, limits.memory_max.value
    for each, _, memory in _sized(plan):
        if each.gpu is None and not least <= memory <= most:
            report.problem(
                f"{each.path}.resources.memory",
                each.memory,
                "is an amount of memory that there is not",
                f"from {memory_text(least)} to {memory_text(most)}",
            )


def gpu_kinds(plan: StackPlan, report: Report) -> None:
    """One GPU, of a kind that there is."""
    known = cloud_run_limits().gpus
    for each in workloads(plan):
        path = f"{each.path}.resources.gpu"
        if each.gpu is not None and each.gpu.count != 1:
            report.problem(path, each.gpu.count, "is no number of GPUs that there is", "one GPU an instance")
        if each.gpu is not None and each.gpu.accelerator not in known:
            report.problem(
                path,
                each.gpu.accelerator,
                "is no GPU that there is",
                f"use one of {', '.join(sorted(known))}",
            )


def gpu_floors(plan: StackPlan, report: Report) -> None:
    """With a GPU: as many CPUs and as much memory as that GPU needs."""
    for each, cpus, memory in _sized(plan):
        limits = cloud_run_limits().gpus.get(each.gpu.accelerator) if each.gpu else None
        if limits is None:
            continue
        if limits.cpu_min.confirmed and cpus < limits.cpu_min.value:
            report.problem(
                f"{each.path}.resources.cpu",
                each.cpu,
                "is too few CPUs for the GPU",
                f"at least {limits.cpu_min.value}",
            )
        if limits.memory_min.confirmed and memory < limits.memory_min.value:
            report.problem(
                f"{each.path}.resources.memory",
                each.memory,
                "is too little memory for the GPU",
                f"at least {memory_text(limits.memory_min.value)}",
            )


def gpu_billing(plan: StackPlan, report: Report) -> None:
    """With a GPU: the CPU stays allocated between requests."""
    for each in plan.on_cloud_run.values():
        if each.gpu is not None and each.cpu_idle:
            report.problem(
                f"{path_of(each)}.resources.gpu",
                each.gpu.accelerator,
                "needs instance-based billing",
                "keep the CPU allocated",
            )


def gpu_regions(plan: StackPlan, report: Report) -> None:
    """With a GPU: a region that has it."""
    for each in plan.on_cloud_run.values():
        limits = cloud_run_limits().gpus.get(each.gpu.accelerator) if each.gpu else None
        if limits and limits.regions.confirmed and each.location not in limits.regions.value:
            listed = ", ".join(limits.regions.value)
            report.problem(
                f"{path_of(each)}.resources.gpu",
                each.location,
                "is a region without the GPU",
                f"use {listed}",
            )


def _cpus(workload: Workload) -> float | None:
    found = _CPU.fullmatch(workload.cpu)
    return float(found[1]) / (1000 if found[2] else 1) if found else None


def _sized(plan: StackPlan) -> Iterator[tuple[Workload, float, int]]:
    """Gives Cloud Run's workloads with CPUs and memory in bytes; those that cannot be read are left out."""
    for each in workloads(plan):
        cpus, memory = _cpus(each), parse_memory(each.memory)
        if each.platform == CLOUD_RUN and cpus is not None and memory is not None:
            yield each, cpus, memory


RULES = (
    quantities,
    cpu_counts,
    memory_for_cpus,
    cpus_for_memory,
    memory_range,
    gpu_kinds,
    gpu_floors,
    gpu_billing,
    gpu_regions,
)
