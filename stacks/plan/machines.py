"""Which Cloud Run instance takes a given need of memory, by the limits of `data/cloud_run.yaml`."""

from __future__ import annotations

from dataclasses import dataclass

from stacks.plan.limits import CloudRunLimits, GpuLimits, cloud_run_limits
from stacks.plan.quantity import GIB, human, memory_text


@dataclass(frozen=True, slots=True)
class Machine:
    """An instance size; memory in bytes."""

    cpu: int
    memory: int
    accelerator: str | None = None

    def __str__(self) -> str:
        gpu = f", 1 {self.accelerator}" if self.accelerator else ""
        return f"{self.cpu} CPU, {memory_text(self.memory)}{gpu}"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why no machine can be had: the key to change (`""` for the model itself), reason and remedy."""

    key: str
    value: object
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Choice:
    """A machine, or the reasons why there is none; `warnings` come from unconfirmed limits."""

    machine: Machine | None
    refusals: tuple[Refusal, ...] = ()
    warnings: tuple[str, ...] = ()


def choose(need: int, *, cpu: int | None = None, memory: int | None = None) -> Choice:
    """Chooses the smallest instance without GPU: least memory first, then fewest CPUs.

    Args:
        need: bytes that must fit.
        cpu: CPUs asked for by name.
        memory: bytes asked for by name.
    """
    limits = cloud_run_limits()
    largest = limits.memory_max.value
    if need > largest:
        reason = f"needs {human(need)} and a Cloud Run instance has at most {memory_text(largest)}"
        return Choice(None, (Refusal("", None, reason, ""),))
    refusals = [*_refuse_cpu(limits, cpu), *_refuse_memory(limits, memory, need)]
    if refusals:
        return Choice(None, tuple(refusals))
    size = memory or _round_up(max(need, limits.least_memory(cpu or 0)), limits.memory_min.value)
    count = cpu or limits.least_cpu(size)
    refusals = _refuse_pair(limits, count, size, cpu_given=cpu is not None)
    return Choice(None if refusals else Machine(count, size), tuple(refusals))


def choose_gpu(accelerator: str, need: int, *, cpu: int | None = None, memory: int | None = None) -> Choice:
    """Chooses the smallest instance with one GPU.

    Args:
        accelerator: `nvidia-l4`, for instance.
        need: bytes of the instance's own memory that must fit.
        cpu: CPUs asked for by name.
        memory: bytes asked for by name.
    """
    limits = cloud_run_limits().gpus[accelerator]
    size = memory or max(limits.memory_min.value, _round_up(need, GIB))
    count = cpu or limits.cpu_min.value
    rules = [
        *_gpu_cpu_rules(limits, accelerator, count),
        *_gpu_memory_rules(limits, accelerator, size, given=memory is not None),
        *([(True, _too_small(size, need))] if limits.memory_min.value <= size < need else []),
    ]
    refusals = tuple(refusal for confirmed, refusal in rules if confirmed)
    warnings = tuple(
        f"{refusal.key} {refusal.value}: {refusal.reason} (unconfirmed)"
        for confirmed, refusal in rules
        if not confirmed
    )
    return Choice(None if refusals else Machine(count, size, accelerator), refusals, warnings)


def _gpu_cpu_rules(limits: GpuLimits, accelerator: str, cpu: int) -> list[tuple[bool, Refusal]]:
    """Lists the rules that a number of CPUs breaks, each with whether the rule is confirmed."""
    floor = limits.cpu_min
    if cpu < floor.value:
        reason = f"{accelerator} needs at least {floor.value} CPUs"
        return [(floor.confirmed, Refusal("resources.cpu", cpu, reason, f"set cpu to {floor.value}"))]
    if cpu not in limits.cpus.value:
        reason = f"is no number of CPUs that goes with {accelerator}"
        return [(limits.cpus.confirmed, Refusal("resources.cpu", cpu, reason, _one_of(limits.cpus.value)))]
    return []


def _gpu_memory_rules(
    limits: GpuLimits, accelerator: str, memory: int, *, given: bool
) -> list[tuple[bool, Refusal]]:
    """Lists the rules that an amount of memory breaks, each with whether the rule is confirmed."""
    least, most, shown = limits.memory_min, limits.memory_max, memory_text(memory)
    key = "resources.memory" if given else ""
    if memory < least.value:
        right = memory_text(least.value)
        refusal = Refusal(key, shown, f"{accelerator} needs at least {right}", f"set memory to {right}")
        return [(least.confirmed, refusal)]
    if memory > most.value:
        right = memory_text(most.value)
        refusal = Refusal(
            key, shown, f"{accelerator} goes with at most {right}", f"set memory to {right} or less"
        )
        return [(most.confirmed, refusal)]
    return []


def _refuse_cpu(limits: CloudRunLimits, cpu: int | None) -> list[Refusal]:
    if cpu is None or cpu in limits.cpus.value:
        return []
    reason = "is no number of CPUs that Cloud Run offers"
    return [Refusal("resources.cpu", cpu, reason, _one_of(limits.cpus.value))]


def _refuse_memory(limits: CloudRunLimits, memory: int | None, need: int) -> list[Refusal]:
    if memory is None:
        return []
    least, most = limits.memory_min.value, limits.memory_max.value
    if not least <= memory <= most:
        reason = f"is outside {memory_text(least)} to {memory_text(most)}"
        right = memory_text(_round_up(need, least))
        return [
            Refusal(
                "resources.memory", memory_text(memory), reason, f"set memory to {right}, which is enough"
            )
        ]
    return [_too_small(memory, need)] if memory < need else []


def _refuse_pair(limits: CloudRunLimits, cpu: int, memory: int, *, cpu_given: bool) -> list[Refusal]:
    needed = limits.least_cpu(memory)
    if cpu < needed:
        reason = f"{memory_text(memory)} of memory needs at least {needed} CPUs"
        return [
            Refusal(
                "resources.cpu", cpu if cpu_given else None, reason, f"set cpu to {needed}, or leave it out"
            )
        ]
    least = limits.least_memory(cpu)
    if memory < least:
        reason = f"{cpu} CPUs need at least {memory_text(least)}"
        return [
            Refusal("resources.memory", memory_text(memory), reason, f"set memory to {memory_text(least)}")
        ]
    return []


def _too_small(memory: int, need: int) -> Refusal:
    right = memory_text(_round_up(need, GIB))
    reason = f"is {human(need - memory)} too small"
    return Refusal("resources.memory", memory_text(memory), reason, f"set memory to {right}, or leave it out")


def _round_up(size: int, smallest: int) -> int:
    """Rounds up to the smallest instance or to whole GiB."""
    return smallest if size <= smallest else -(-size // GIB) * GIB


def _one_of(values: list[int]) -> str:
    return f"use one of {', '.join(map(str, values))}"
