"""What answering prompts needs: in a container's memory, and in the memory of one GPU or of several."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from stacks.plan.batching import LANES, Batch, batch_of
from stacks.plan.engines import CTRANSLATE2, TORCHSERVE, TRANSFORMERS, VLLM
from stacks.plan.hardware import Accelerator, ComputeMachine, accelerators, compute_machines
from stacks.plan.quantity import human
from stacks.plan.sizing import dtypes, terms
from stacks.plan.sizing.candidates import Candidate, smallest
from stacks.plan.spec import ModelSpec
from stacks.plan.tokens import DEFAULT_QUEUE, TokenLimits
from stacks.plan.types import SizingLine

BATCHED_SEQUENCES = DEFAULT_QUEUE
"""Sequences that an engine with continuous batching is sized for: as many as a server holds by default."""

SHARDING_ENGINES = (VLLM,)
"""Engines that share one model among the GPUs of a machine; the others use one."""


def host_lines(
    model: ModelSpec,
    tokens: TokenLimits,
    dtype: str,
    *,
    batch: Batch | None = None,
    engine: str = TRANSFORMERS,
    mounted: bool = True,
) -> tuple[SizingLine, ...]:
    """Lists what a container needs in memory when the CPU computes.

    Args:
        model: what is served.
        tokens: limits of one request.
        dtype: element type of computing.
        batch: what runs at once; None for one request after the other.
        engine: what computes.
        mounted: whether the weights come from a bucket mounted in the container.
    """
    batch, between = batch or batch_of(1, tokens), terms.between_layers(dtype)
    paged = _is_paged(model, engine)
    lines = [
        *_weights(model, dtype, engine),
        terms.cache(model, tokens, between, sequences=batch.rows, windows=not paged),
        terms.activations(model, tokens, between, _read_at_once(batch, tokens, engine)),
        *([terms.reading_back(model, between, batch)] if paged else []),
        terms.runtime(),
        *([terms.java()] if engine == TORCHSERVE else []),
        *([terms.mount()] if mounted else []),
    ]
    return terms.with_headroom(lines)


def _weights(model: ModelSpec, dtype: str, engine: str) -> tuple[SizingLine, SizingLine]:
    """Counts the weights, and what loading holds beside them."""
    if engine == CTRANSLATE2:
        quantised = dtype in terms.QUANTISED
        held = terms.quantised_weights(model) if quantised else terms.weights(model, dtype)
        return held, terms.reading(model, dtype)
    return terms.weights(model, dtype), terms.loading(model, dtype)


def _read_at_once(batch: Batch, tokens: TokenLimits, engine: str) -> Batch:
    """Gives the batch whose prompts are read at the same time."""
    if engine != CTRANSLATE2:
        return batch
    return replace(batch, prompt_tokens=min(batch.rows * tokens.max_input, LANES * batch.prompt_tokens))


def _is_paged(model: ModelSpec, engine: str) -> bool:
    """Whether requests share the cache of transformers' continuous batching."""
    return engine == TRANSFORMERS and model.family == "decoder"


def gpu_host_lines(
    model: ModelSpec, dtype: str, *, engine: str = TRANSFORMERS, mounted: bool = True
) -> tuple[SizingLine, ...]:
    """Lists what a container needs in memory when a GPU computes: the weights pass through it."""
    # vLLM runs the model in a process of its own, beside the server's.
    processes = 2 if engine == VLLM else 1
    lines = [
        terms.weights(model, dtype),
        terms.loading(model, dtype),
        terms.runtime(processes),
        *([terms.java()] if engine == TORCHSERVE else []),
        *([terms.mount()] if mounted else []),
    ]
    return terms.with_headroom(lines)


def gpu_lines(
    model: ModelSpec,
    tokens: TokenLimits,
    dtype: str,
    *,
    batch: Batch | None = None,
    engine: str = TRANSFORMERS,
    shards: int = 1,
) -> tuple[SizingLine, ...]:
    """Lists what serving needs in the memory of each of `shards` GPUs that hold the model together.

    Args:
        model: what is served.
        tokens: limits of one request.
        dtype: element type of computing.
        batch: what runs at once; None for one request after the other.
        engine: what computes.
        shards: number of GPUs.
    """
    batch, paged = batch or batch_of(1, tokens), _is_paged(model, engine)
    lines = [
        terms.weights(model, dtype, shards),
        terms.cache(model, tokens, dtype, sequences=batch.rows, shards=shards, windows=not paged),
        terms.activations(model, tokens, dtype, batch),
        *([terms.reading_back(model, dtype, batch)] if paged else []),
        terms.cuda(),
    ]
    return terms.with_headroom(lines)


def vertex_cpu(model: ModelSpec, tokens: TokenLimits, engine: str, dtype: str) -> Candidate:
    """Chooses the smallest machine without GPU that Vertex AI serves with."""
    lines = host_lines(model, tokens, dtype, engine=engine, mounted=False)
    machines = cpu_machines()
    machines.sort(key=lambda one: (one.memory_bytes, one.cpus, _price(one)))
    return smallest(Candidate(one.name, lines, one.memory_bytes, "instance") for one in machines)


def vertex_gpu(model: ModelSpec, tokens: TokenLimits, engine: str, dtype: str | None = None) -> Candidate:
    """Chooses the machine with the least GPU memory that Vertex AI serves with and that holds a model.

    One GPU comes before several.

    Args:
        model: what is served.
        tokens: limits of one request.
        engine: one that shares a model among GPUs may get several.
        dtype: element type of computing; None for each GPU's usual one.
    """
    shares = engine in SHARDING_ENGINES
    kinds = list(accelerators())
    places = [
        place
        for kind in kinds
        if dtype is None or dtypes.refusal(model, dtype, kind) is None
        for place in gpu_places(kind)
        if place.count == 1 or (shares and not model.architecture.heads % place.count)
    ]
    # The serving image computes on one GPU: several are for what no single one holds.
    places.sort(
        key=lambda one: (
            one.count > 1,
            one.count * one.gpu.memory_bytes,
            one.count,
            kinds.index(one.gpu.name),
        )
    )
    batch = batch_of(BATCHED_SEQUENCES if shares else 1, tokens)
    return smallest(_on_gpus(model, tokens, place, dtype, batch, engine) for place in places)


def cpu_machines() -> list[ComputeMachine]:
    """Lists the machines without GPU that Vertex AI serves with."""
    return [one for one in compute_machines().values() if one.vertex_serving and not one.accelerator]


@dataclass(frozen=True, slots=True)
class Place:
    """A machine of Vertex AI with so many GPUs of one kind."""

    machine: ComputeMachine
    count: int
    gpu: Accelerator


def _on_gpus(
    model: ModelSpec, tokens: TokenLimits, place: Place, dtype: str | None, batch: Batch, engine: str
) -> Candidate:
    chosen = dtype or dtypes.default_dtype(model, place.gpu.name)
    host = terms.total(gpu_host_lines(model, chosen, engine=engine, mounted=False))
    own = place.machine.memory_bytes
    obstacle = f"has {human(own)} of its own memory and {human(host)} pass through it" if host > own else ""
    return Candidate(
        machine=f"{place.machine.name}, {place.count} {place.gpu.name}",
        lines=gpu_lines(model, tokens, chosen, batch=batch, engine=engine, shards=place.count),
        have=place.gpu.memory_bytes,
        per="GPU",
        obstacle=obstacle,
        notes=() if place.gpu.confirmed else (f"memory of {place.gpu.name} is unconfirmed",),
        dtype=chosen,
        devices=place.count,
    )


def gpu_places(kind: str) -> Iterator[Place]:
    """Lists Vertex AI's serving machines that have, or take, GPUs of a kind; smallest first."""
    machines = [
        one
        for one in sorted(compute_machines().values(), key=lambda one: (one.memory_bytes, one.cpus))
        if one.vertex_serving and not one.spot_only
    ]
    gpu = accelerators()[kind]
    for machine in machines:
        if machine.accelerator == kind:
            yield Place(machine, machine.accelerator_count, gpu)
        elif gpu.n1_counts and machine.family in ("n1-standard", "n1-highmem"):
            for count in gpu.n1_counts.value.get(machine.cpus, []):
                yield Place(machine, count, gpu)


def _price(machine: ComputeMachine) -> float:
    return machine.hourly_usd.value if machine.hourly_usd else float("inf")
