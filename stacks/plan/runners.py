"""Where a weights job runs, and on what: the same image with the same arguments everywhere.

The job streams: it holds at most 256 MiB whatever the checkpoint's size or format, and writes to no local
disk. So each platform's smallest machine does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from stacks.plan.hardware import ComputeMachine, compute_machines
from stacks.plan.limits import cloud_run_limits, vertex_limits
from stacks.plan.quantity import memory_text
from stacks.plan.report import Report
from stacks.plan.sizing.staging import PIPELINE_BYTES, streaming_lines, vertex_lines
from stacks.plan.sizing.terms import total
from stacks.plan.types import Sizing
from stacks.plan.types_weights import VertexMachinePlan

CLOUD_RUN: Final = "cloud-run"
VERTEX: Final = "vertex"
KUBERNETES: Final = "kubernetes"

DEFAULTS: Final[Mapping[str, str]] = {
    "cloud-run": CLOUD_RUN,
    "vertex": VERTEX,
    "dataflow": CLOUD_RUN,
    "training": VERTEX,
    "gke-tpu": KUBERNETES,
}
"""Where each topology's weights job runs unless the deployment says otherwise."""

_WITH_CLUSTER = ("gke-tpu",)
"""Topologies that have a cluster."""

_ATTEMPTS: Final[Mapping[str, int]] = {CLOUD_RUN: 2, VERTEX: 1, KUBERNETES: 2}
"""How often a job that fails is tried, the first time included; Vertex AI decides that itself.

cloud.google.com/vertex-ai/docs/training/understanding-training-service: an exit code of the program's own
ends a custom job for good.
"""
_START_SECONDS: Final[Mapping[str, int]] = {CLOUD_RUN: 300, VERTEX: 1200, KUBERNETES: 900}
"""How long a deployment waits for the first attempt to start: Vertex AI makes a machine first, and a cluster
a node where all are full. Assumed."""

_POD_CPU: Final = "500m"
"""What a pod asks for; it takes more where its node has more."""


@dataclass(frozen=True, slots=True)
class JobMachine:
    """What a weights job runs on."""

    cpu: str
    memory: str
    vertex: VertexMachinePlan | None
    sizing: Sizing


def choose_runner(wanted: str | None, topology: str, region: str, path: str, report: Report) -> str:
    """Decides where a deployment's weights job runs, and reports where it cannot.

    Args:
        wanted: the deployment's `weights.runner`.
        topology: the deployment's.
        region: the stack's.
        path: path of the deployment in the stack file.
        report: receives what is wrong.
    """
    runner, path = wanted or DEFAULTS[topology], f"{path}.weights.runner"
    if runner == KUBERNETES and topology not in _WITH_CLUSTER:
        report.problem(
            path,
            runner,
            f"needs a cluster, and topology {topology} has none",
            f"write {CLOUD_RUN} or {VERTEX}, or leave it out for {DEFAULTS[topology]}",
        )
        return DEFAULTS[topology]
    if runner == VERTEX and region not in vertex_limits().regions.value:
        report.problem(
            path,
            runner,
            f"is not possible in {region}, where Vertex AI has no address",
            f"write {CLOUD_RUN}, or set gcp:region to one of {', '.join(vertex_limits().regions.value)}",
        )
    return runner


def machine(runner: str) -> JobMachine:
    """Chooses the smallest machine of a runner, and says why it does."""
    makers = {CLOUD_RUN: _cloud_run_job, VERTEX: _custom_job, KUBERNETES: _pod}
    return makers[runner]()


def retries(runner: str) -> int:
    """Gives how often a job that fails is tried again."""
    return _ATTEMPTS[runner] - 1


def wait_seconds(runner: str, task_timeout: int) -> int:
    """Gives how long a deployment waits for all attempts of a job.

    Args:
        runner: where it runs.
        task_timeout: seconds that one attempt may take.
    """
    return _ATTEMPTS[runner] * task_timeout + _START_SECONDS[runner]


def _cloud_run_job() -> JobMachine:
    limits, lines = cloud_run_limits(), streaming_lines()
    memory = limits.memory_min.value
    cpu, text = str(limits.least_cpu(memory)), memory_text(memory)
    return JobMachine(cpu, text, None, Sizing(lines, total(lines), memory, f"{cpu} CPU, {text}"))


def _pod() -> JobMachine:
    lines = streaming_lines()
    text = memory_text(PIPELINE_BYTES)
    return JobMachine(
        _POD_CPU, text, None, Sizing(lines, total(lines), PIPELINE_BYTES, f"pod, {_POD_CPU} CPU, {text}")
    )


def _custom_job() -> JobMachine:
    limits, chosen = vertex_limits(), _cheapest()
    lines, disk = vertex_lines(chosen), limits.boot_disk_default.value
    kind = next(kind for kind in limits.boot_disk_types.value if kind in chosen.boot_disks)
    return JobMachine(
        cpu=str(chosen.cpus),
        memory=memory_text(chosen.memory_bytes),
        vertex=VertexMachinePlan(chosen.name, disk, kind),
        sizing=Sizing(lines, total(lines), chosen.memory_bytes, f"{chosen.name}, {disk} GB {kind}"),
    )


def _cheapest() -> ComputeMachine:
    """Gives the machine that costs least of those that Vertex AI trains on and that hold the job."""
    usable = [
        one
        for one in compute_machines().values()
        if one.vertex_training
        and not one.accelerator
        and one.hourly_usd
        and total(vertex_lines(one)) <= one.memory_bytes
    ]
    return min(usable, key=lambda one: (one.hourly_usd.value if one.hourly_usd else 0.0, one.name))
