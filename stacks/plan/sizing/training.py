"""What fine-tuning needs on each GPU of a cluster: ZeRO stage 3, AdamW, bfloat16 mixed precision.

Source of the sum: "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models", arXiv 1910.02054,
§3.1: 2 bytes of weights, 2 of gradients and 12 of optimizer state (weights, momentum and variance in float32)
for each parameter; §5.3 for stage 3, which shares all three among all GPUs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from stacks.plan.architecture import largest_tensor_elements, parameters
from stacks.plan.hardware import ComputeMachine, accelerators, compute_machines
from stacks.plan.quantity import GIB, human
from stacks.plan.sizing import terms
from stacks.plan.sizing.candidates import Candidate, smallest
from stacks.plan.spec import ModelSpec
from stacks.plan.staging import checkpoint_bytes
from stacks.plan.types import SizingLine

WEIGHT_BYTES = 2
GRADIENT_BYTES = 2
OPTIMIZER_BYTES = 12

DTYPE = "bfloat16"
ENGINE = "deepspeed"
_FAMILIES = ("a2-highgpu", "a2-megagpu", "a2-ultragpu")
_NODE_COUNTS = (1, 2, 4, 8, 16)
_CLUSTER_GPUS = 8
"""GPUs of the smallest machine that a cluster of several is made of."""

_NCCL_BYTES = GIB
_LOGIT_BYTES = 10
"""Logits in bfloat16, their float32 copy for the loss, and its gradient. Assumed."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one GPU computes at once: sequences, and tokens of each.

    One sequence is the least there is, so what does not fit then fits with no other number.
    """

    sequences: int = 1
    input_tokens: int = 256
    target_tokens: int = 30


def gpu_lines(model: ModelSpec, batch: Batch, gpus: int) -> tuple[SizingLine, ...]:
    """Lists what each of so many GPUs holds."""
    largest = largest_tensor_elements(model.architecture)
    lines = [
        _shared("weights", model, WEIGHT_BYTES, "bfloat16", gpus),
        _shared("gradients", model, GRADIENT_BYTES, "bfloat16", gpus),
        _shared("optimizer", model, OPTIMIZER_BYTES, "float32 weights, momentum, variance", gpus),
        SizingLine(
            "gathered",
            2 * largest * WEIGHT_BYTES,
            f"{largest:,} elements of the largest tensor × 2 bytes, whole, and as much of gradient",
        ),
        _activations(model, batch),
        terms.cuda(),
        SizingLine("NCCL", _NCCL_BYTES, f"{human(_NCCL_BYTES)} of buffers, assumed"),
    ]
    return terms.with_headroom(lines)


def on_cluster(model: ModelSpec, batch: Batch, machine: ComputeMachine, nodes: int) -> Candidate:
    """Sizes a model for a given cluster of machines with GPUs."""
    kind, each = str(machine.accelerator), machine.accelerator_count
    host = each * checkpoint_bytes(model)
    short = host > machine.memory_bytes
    lines, have = gpu_lines(model, batch, nodes * each), accelerators()[kind].memory_bytes
    return Candidate(
        machine=f"{nodes} × {machine.name} ({nodes * each} {kind})",
        lines=lines,
        have=have,
        per="GPU",
        obstacle=f"has {human(machine.memory_bytes)} of memory and loading takes {human(host)}"
        if short
        else "",
        notes=(
            f"room for {_room(model, batch, have - terms.total(lines))} sequences at once on each GPU",
            f"loading: {each} processes × {human(checkpoint_bytes(model))} of checkpoint = {human(host)} of "
            f"{human(machine.memory_bytes)} of a machine's memory, assumed",
        ),
    )


def _room(model: ModelSpec, batch: Batch, spare: int) -> int:
    """Counts the sequences that a GPU has room for, from what one of them keeps and what is left over."""
    one = _activations(model, replace(batch, sequences=1)).bytes
    return max(batch.sequences + spare * 100 // (one * (100 + terms.HEADROOM_PERCENT)), 0)


def choose_cluster(model: ModelSpec, batch: Batch) -> Candidate:
    """Chooses the A2 machines with the least GPU memory together, as few as can be, that a training fits."""
    return smallest(on_cluster(model, batch, machine, nodes) for machine, nodes in _clusters())


def _clusters() -> Iterator[tuple[ComputeMachine, int]]:
    machines = [one for one in compute_machines().values() if one.family in _FAMILIES]
    clusters = [
        (machine, nodes)
        for machine in machines
        for nodes in _NODE_COUNTS
        if nodes == 1 or machine.accelerator_count >= _CLUSTER_GPUS
    ]

    def size(cluster: tuple[ComputeMachine, int]) -> tuple[int, int, int]:
        machine, nodes = cluster
        memory = accelerators()[str(machine.accelerator)].memory_bytes
        gpus = nodes * machine.accelerator_count
        return gpus * memory, nodes, gpus

    return iter(sorted(clusters, key=size))


def _shared(what: str, model: ModelSpec, size: int, parts: str, gpus: int) -> SizingLine:
    count = parameters(model)
    share = f" / {gpus} GPUs" if gpus > 1 else ""
    arithmetic = f"{count:,} parameters × {size} bytes ({parts}){share}"
    return SizingLine(what, -(-count * size // gpus), arithmetic)


def _activations(model: ModelSpec, batch: Batch) -> SizingLine:
    """Counts what the forward pass keeps for the backward pass, without recomputation.

    "Reducing Activation Recomputation in Large Transformer Models", arXiv 2205.05198, §4.1: for each layer
    and token 18 bytes for each hidden element (attention, norms, feed-forward's ends), 4 for each
    feed-forward element (8 where a gate doubles it) and 5 for each score.
    """
    shape = model.architecture
    per_token = 18 * shape.d_model + (4 if shape.kind in _UNGATED else 8) * shape.d_ff
    source, target = batch.input_tokens, batch.target_tokens
    if model.family == "encoder-decoder":
        encoder = shape.encoder_layers * _layer(source, per_token, source * source, shape.heads)
        cross = per_token + 11 * shape.d_model
        scores = target * (target + source)
        kept = encoder + shape.decoder_layers * _layer(target, cross, scores, shape.heads)
        layers, answer = f"{shape.encoder_layers} + {shape.decoder_layers}", target
    else:
        answer = source + target
        kept = shape.decoder_layers * _layer(answer, per_token, answer * answer, shape.heads)
        layers = str(shape.decoder_layers)
    logits = answer * shape.vocab * _LOGIT_BYTES
    return SizingLine(
        "activations",
        batch.sequences * (kept + logits),
        f"{batch.sequences} × ({layers} layers × ({per_token:,} bytes for each of {source} + "
        f"{target} tokens + 5 × {shape.heads} heads for each score) + {answer} × {shape.vocab} logits "
        f"× {_LOGIT_BYTES} bytes), assumed",
    )


_UNGATED = ("t5", "bart", "gpt2", "gpt-neox")


def _layer(tokens: int, per_token: int, scores: int, heads: int) -> int:
    return tokens * per_token + 5 * heads * scores
