"""What serving needs in the memory of each chip of a TPU slice.

The rule: weights and cache, shared among the chips, in at most nine tenths of a chip's memory. The tenth is
for programs, activations and transfers (assumed; vLLM's `gpu_memory_utilization` has the same default).
"""

from __future__ import annotations

from stacks.plan.hardware import TpuSlice, tpu_chips, tpu_slices
from stacks.plan.quantity import human
from stacks.plan.sizing import terms
from stacks.plan.sizing.candidates import Candidate, smallest
from stacks.plan.spec import ModelSpec
from stacks.plan.tokens import TokenLimits
from stacks.plan.types import SizingLine

ACCELERATORS = ("v5e", "v6e")
CACHE_DTYPE = "bfloat16"
"""Element type of the cache, also beside weights in int8: it has a switch of its own in JetStream."""

_USED_PERCENT = 90
_SCALE_PERCENT = 1
"""Scales beside weights in int8, one for each row of a matrix. Assumed."""

SINGLE_HOST_ENGINES = ("jetstream",)


def chip_lines(
    model: ModelSpec, tokens: TokenLimits, dtype: str, *, sequences: int, chips: int
) -> tuple[SizingLine, ...]:
    """Lists what each chip holds when `sequences` are answered at once."""
    weights = terms.weights(model, dtype, chips)
    scales = SizingLine(
        "scales", weights.bytes * _SCALE_PERCENT // 100, f"{_SCALE_PERCENT} % of the weights, assumed"
    )
    cache = terms.cache(model, tokens, CACHE_DTYPE, sequences=sequences, shards=chips)
    return (weights, scales, cache) if dtype == "int8" else (weights, cache)


def on_slice(
    model: ModelSpec, tokens: TokenLimits, dtype: str, part: TpuSlice, *, sequences: int
) -> Candidate:
    """Sizes a model for a given slice."""
    chip, heads = tpu_chips()[part.accelerator], model.architecture.heads
    hosts = "one host" if part.hosts == 1 else f"{part.hosts} hosts"
    notes = [f"{_USED_PERCENT} % of {human(chip.hbm_bytes)} for each chip, assumed"]
    if not chip.confirmed:
        notes.append(f"memory of a {part.accelerator} chip is unconfirmed")
    if part.multi_host:
        notes.append("needs an engine whose processes on all hosts work together")
    return Candidate(
        machine=f"{part.accelerator} {part.topology}, {part.hosts} × {part.machine} ({hosts})",
        lines=chip_lines(model, tokens, dtype, sequences=sequences, chips=part.chips),
        have=chip.hbm_bytes * _USED_PERCENT // 100,
        per="chip",
        obstacle=f"has {part.chips} chips, and {heads} attention heads cannot be shared evenly by them"
        if heads % part.chips
        else "",
        notes=tuple(notes),
    )


def choose_slice(
    model: ModelSpec, tokens: TokenLimits, engine: str, dtype: str, accelerator: str, *, sequences: int
) -> Candidate:
    """Chooses the smallest slice of a generation of TPU: on one host if any such slice will do."""
    parts = [
        part for part in tpu_slices(accelerator) if not (part.multi_host and engine in SINGLE_HOST_ENGINES)
    ]
    parts.sort(key=lambda part: (part.multi_host, part.chips, part.hosts))
    return smallest(on_slice(model, tokens, dtype, part, sequences=sequences) for part in parts)
