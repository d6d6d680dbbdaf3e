"""The machine of Cloud Run that serves a model, and how many requests it then runs at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from stacks.plan.batching import Batch, batches
from stacks.plan.limits import cloud_run_limits
from stacks.plan.machines import Choice, choose, choose_gpu
from stacks.plan.sizing.serving import gpu_host_lines, gpu_lines, host_lines
from stacks.plan.sizing.terms import total
from stacks.plan.spec import ModelSpec
from stacks.plan.tokens import TokenLimits
from stacks.plan.types import SizingLine


@dataclass(frozen=True, slots=True)
class Sized:
    """A choice of machine, what it was chosen for, and what holds it; sizes in bytes."""

    batch: Batch
    lines: tuple[SizingLine, ...]
    choice: Choice
    have: int
    """Memory of the machine or of its GPU; where there is no machine, of the largest."""

    @property
    def fits(self) -> bool:
        """Whether there is a machine and it holds the sum."""
        return self.choice.machine is not None and total(self.lines) <= self.have


def on_cpu(
    model: ModelSpec,
    tokens: TokenLimits,
    dtype: str,
    engine: str,
    queue: int,
    *,
    cpu: int | None = None,
    memory: int | None = None,
) -> Sized:
    """Chooses the smallest instance for as many requests at once as it is asked to hold, else for fewer.

    Args:
        model: as its weights are staged.
        tokens: limits of one request.
        dtype: element type of computing.
        engine: what computes.
        queue: requests that the server holds.
        cpu: CPUs asked for by name.
        memory: bytes asked for by name.
    """
    most = cloud_run_limits().memory_max.value

    def sized(batch: Batch) -> Sized:
        lines = host_lines(model, tokens, dtype, batch=batch, engine=engine)
        choice = choose(total(lines), cpu=cpu, memory=memory)
        return Sized(batch, lines, choice, choice.machine.memory if choice.machine else most)

    return _first_that_fits(sized(batch) for batch in batches(queue, tokens, gpu=False))


def on_gpu(
    model: ModelSpec,
    tokens: TokenLimits,
    dtype: str,
    accelerator: str,
    engine: str,
    queue: int,
    *,
    cpu: int | None = None,
    memory: int | None = None,
) -> Sized:
    """Chooses the smallest instance with a GPU, and as many requests at once as the GPU's memory holds.

    Args:
        model: as its weights are staged.
        tokens: limits of one request.
        dtype: element type of computing.
        accelerator: the GPU.
        engine: what computes.
        queue: requests that the server holds.
        cpu: CPUs asked for by name.
        memory: bytes of the instance's own memory asked for by name.
    """
    host = total(gpu_host_lines(model, dtype, engine=engine))
    choice = choose_gpu(accelerator, host, cpu=cpu, memory=memory)
    have = gpu_memory(accelerator)

    def sized(batch: Batch) -> Sized:
        return Sized(batch, gpu_lines(model, tokens, dtype, batch=batch, engine=engine), choice, have)

    return _first_that_fits(sized(batch) for batch in batches(queue, tokens, gpu=True))


def _first_that_fits(tried: Iterable[Sized]) -> Sized:
    """Gives the first that fits, else the last, which comes nearest; there is at least one."""
    for sized in tried:
        if sized.fits:
            break
    return sized


def gpu_memory(accelerator: str) -> int:
    """Gives the memory of a GPU of Cloud Run in bytes."""
    return cloud_run_limits().gpus[accelerator].memory_bytes.value
