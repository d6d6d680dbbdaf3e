"""Limits of Cloud Run and of Vertex AI's custom jobs, from tables where each has its source and certainty.

They are `data/cloud_run.yaml` and `data/vertex.yaml`; Cloud Run's regions are in `data/regions.yaml`.
"""

from __future__ import annotations

from functools import cache

from stacks.plan.facts import Fact, Memory, read_table
from stacks.plan.spec import Strict


class GpuLimits(Strict):
    """What Cloud Run asks of an instance with one GPU, and where it has that GPU."""

    memory_bytes: Fact[int]
    cpu_min: Fact[int]
    cpus: Fact[list[int]]
    memory_min: Fact[Memory]
    memory_max: Fact[Memory]
    regions: Fact[list[str]]


class CloudRunLimits(Strict):
    """Cloud Run's limits; memory in bytes, times in seconds."""

    cpus: Fact[list[int]]
    memory_min: Fact[Memory]
    memory_max: Fact[Memory]
    memory_by_cpu: Fact[dict[int, Memory]]
    """Least memory for a number of CPUs."""
    cpu_by_memory: Fact[dict[Memory, int]]
    """Least number of CPUs for more memory than the key."""
    concurrency_max: Fact[int]
    instances_without_quota: Fact[int]
    request_timeout_max: Fact[int]
    grace_seconds: Fact[int]
    startup_window: Fact[int]
    startup_window_gpu: Fact[int]
    probe_field_max: Fact[int]
    job_task_timeout_max: Fact[int]
    gpus: dict[str, GpuLimits]
    regions: Fact[list[str]]

    def least_cpu(self, memory: int) -> int:
        """Gives the fewest CPUs that Cloud Run accepts with so many bytes of memory, without a GPU."""
        steps = self.cpu_by_memory.value
        return max([min(self.cpus.value), *(cpu for above, cpu in steps.items() if memory > above)])

    def least_memory(self, cpu: int) -> int:
        """Gives the least memory in bytes that Cloud Run accepts with so many CPUs, without a GPU."""
        return max(self.memory_min.value, self.memory_by_cpu.value.get(cpu, 0))


@cache
def cloud_run_limits() -> CloudRunLimits:
    """Reads the limits."""
    regions = read_table("regions")["cloudRun"]
    return CloudRunLimits.model_validate({**read_table("cloud_run"), "regions": regions})


class VertexLimits(Strict):
    """What Vertex AI asks of a custom job; disks in GB."""

    system_share: Fact[int]
    """Percent of a small machine's memory that Vertex AI itself can take."""
    boot_disk_default: Fact[int]
    boot_disk_min: Fact[int]
    boot_disk_types: Fact[list[str]]
    variables_max: Fact[int]
    job_name_max: Fact[int]
    regions: Fact[list[str]]


@cache
def vertex_limits() -> VertexLimits:
    """Reads the limits."""
    return VertexLimits.model_validate(read_table("vertex"))
