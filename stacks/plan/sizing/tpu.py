"""What serving needs in the memory of each chip of a TPU slice.

The rule: weights and cache, shared among the chips, in at most nine tenths of a chip's memory. The tenth is
for programs, activations and transfers (assumed; vLLM's `gpu_memory_utilization` has the same default).
"""

from __future__ import annotations

from stacks.plan.hardware import TpuSlice, tpu_chips, tpu_machines, tpu_slices
from stacks.plan.quantity import human
from stacks.plan.sizing import terms
from stacks.plan.sizing.candidates import Candidate, smallest
from stacks.plan.spec import ModelSpec
from stacks.plan.staging import SCALE_PERCENT
from stacks.plan.tokens import TokenLimits
from stacks.plan.types import SizingLine

ACCELERATORS = ("v5e", "v6e")
CACHE_DTYPE = "bfloat16"
"""Element type of the cache, also beside weights in int8: it has a switch of its own in JetStream."""

_USED_PERCENT = 90
SINGLE_HOST_ENGINES = ("jetstream", "vllm-tpu")
"""Engines whose replica is one pod. vLLM can span hosts by Ray, which no deployment of this version has."""


def chip_lines(
    model: ModelSpec,
    tokens: TokenLimits,
    dtype: str,
    *,
    sequences: int,
    chips: int,
    cache_dtype: str = CACHE_DTYPE,
    by_sequence: bool = False,
) -> tuple[SizingLine, ...]:
    """Lists what each chip holds when `sequences` are answered at once.

    Args:
        model: what is served.
        tokens: limits of one sequence.
        dtype: element type of the weights.
        sequences: how many have a place in the cache.
        chips: how many share weights and cache.
        cache_dtype: element type of the cache.
        by_sequence: whether chips share the cache by sequences, not by heads; they share the weights
            either way (github.com/AI-Hypercomputer/jetstream-pytorch, environment.py: `shard_on_batch`).
    """
    weights = terms.weights(model, dtype, chips)
    scales = SizingLine(
        "scales", weights.bytes * SCALE_PERCENT // 100, f"{SCALE_PERCENT} % of the weights, assumed"
    )
    own, shards = (-(-sequences // chips), 1) if by_sequence else (sequences, chips)
    cache = terms.cache(model, tokens, cache_dtype, sequences=own, shards=shards)
    return (weights, scales, cache) if dtype == "int8" else (weights, cache)


def on_slice(
    model: ModelSpec,
    tokens: TokenLimits,
    dtype: str,
    part: TpuSlice,
    *,
    sequences: int,
    cache_dtype: str = CACHE_DTYPE,
    by_sequence: bool = False,
) -> Candidate:
    """Sizes a model for a given slice; arguments as for `chip_lines`."""
    chip, heads = tpu_chips()[part.accelerator], model.architecture.heads
    shared, count = ("sequences", sequences) if by_sequence else ("attention heads", heads)
    hosts = "one host" if part.hosts == 1 else f"{part.hosts} hosts"
    notes = [f"{_USED_PERCENT} % of {human(chip.hbm_bytes)} for each chip, assumed"]
    if not chip.confirmed:
        notes.append(f"memory of a {part.accelerator} chip is unconfirmed")
    price = tpu_machines()[part.machine].hourly_usd
    if price is not None:
        usd = price.value * part.hosts
        notes.append(f"list price of a slice on demand in the United States: ${usd:.2f} an hour")
    if part.multi_host:
        notes.append("needs an engine whose processes on all hosts work together")
    return Candidate(
        machine=f"{part.accelerator} {part.topology}, {part.hosts} × {part.machine} ({hosts})",
        lines=chip_lines(
            model,
            tokens,
            dtype,
            sequences=sequences,
            chips=part.chips,
            cache_dtype=cache_dtype,
            by_sequence=by_sequence,
        ),
        have=chip.hbm_bytes * _USED_PERCENT // 100,
        per="chip",
        obstacle=f"has {part.chips} chips, and {count} {shared} cannot be shared evenly by them"
        if count % part.chips
        else "",
        notes=tuple(notes),
    )


def choose_slice(
    model: ModelSpec,
    tokens: TokenLimits,
    engine: str,
    dtype: str,
    accelerator: str,
    *,
    sequences: int,
) -> Candidate:
    """Chooses the smallest slice of a generation of TPU: on one host if any such slice will do."""
    return smallest(
        on_slice(model, tokens, dtype, part, sequences=sequences) for part in slices_for(engine, accelerator)
    )


def slices_for(engine: str, accelerator: str) -> tuple[TpuSlice, ...]:
    """Lists the slices of a generation that an engine runs on: smallest first, one host before several."""
    parts = [
        part for part in tpu_slices(accelerator) if not (part.multi_host and engine in SINGLE_HOST_ENGINES)
    ]
    return tuple(sorted(parts, key=lambda part: (part.multi_host, part.chips, part.hosts)))
