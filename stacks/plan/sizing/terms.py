"""The terms of a sizing sum: what each holds in memory, and the arithmetic that says so."""

from __future__ import annotations

from collections.abc import Iterable

from stacks.plan.architecture import (
    cache_bytes,
    cache_bytes_per_token,
    largest_tensor_elements,
    parameters,
)
from stacks.plan.quantity import GIB, MIB, human
from stacks.plan.spec import DTYPE_BYTES, ModelSpec
from stacks.plan.tokens import TokenLimits
from stacks.plan.types import SizingLine

ELEMENT_BYTES = {**DTYPE_BYTES, "int8": 1}

RUNTIME_BYTES = 800 * MIB
"""Python with torch, transformers and a web server, after one answer of a tiny model: 748 MiB resident were
measured with torch 2.15 for CPU and transformers 5.23; rounded up."""

CUDA_BYTES = GIB
"""CUDA context and kernels on the GPU. Assumed."""

_FUSE_CACHE_BYTES = 36 * MIB
_FUSE_OPEN_FILES = 4
HEADROOM_PERCENT = 10
"""Percent kept free: allocators fragment, and a container over its limit is killed. Assumed."""

# Live tensors of one layer, in multiples of the hidden and of the feed-forward size. Assumed.
_HIDDEN_COPIES = 6
_FEED_FORWARD_COPIES = 3
_SCORE_COPIES = 3


def total(lines: Iterable[SizingLine]) -> int:
    """Adds the terms, in bytes."""
    return sum(line.bytes for line in lines)


def sum_text(lines: Iterable[SizingLine]) -> str:
    """Writes the sum for a message: `weights 0.92 GiB + cache 54 MiB + …`."""
    return " + ".join(f"{line.what} {human(line.bytes)}" for line in lines)


def weights(model: ModelSpec, dtype: str, shards: int = 1) -> SizingLine:
    """Counts a device's part of the weights, where `shards` devices hold them together."""
    count, size = parameters(model), ELEMENT_BYTES[dtype]
    part = f" / {shards} devices" if shards > 1 else ""
    return SizingLine(
        "weights", -(-count * size // shards), f"{count:,} parameters × {size} bytes ({dtype}){part}"
    )


def loading(model: ModelSpec, dtype: str) -> SizingLine:
    """Counts what loading holds beside the weights: one tensor, the largest, in the file's element type.

    Measured with transformers 5.23 and models of 0.3 and 0.4 billion parameters: weights in the file's own
    element type stay mapped, and the process has 0.1 GiB of its own; converted ones are its own and no more
    than one tensor's copy beside them, while the file's mapped pages can be dropped when memory runs short.
    """
    count, stored = largest_tensor_elements(model.architecture), model.checkpoint_dtype
    same = "no second copy of the weights is held (measured)"
    why = same if stored == dtype else f"converted to {dtype} one tensor at a time (measured)"
    return SizingLine(
        "loading",
        count * DTYPE_BYTES[stored],
        f"{count:,} elements of the largest tensor × {DTYPE_BYTES[stored]} bytes ({stored}): {why}",
    )


def cache(
    model: ModelSpec, tokens: TokenLimits, dtype: str, *, sequences: int = 1, shards: int = 1
) -> SizingLine:
    """Counts a device's part of the key-value cache of so many sequences.

    Devices share a cache by key-value heads: more devices than heads hold copies (vLLM,
    `ModelConfig.get_num_kv_heads`).
    """
    shape, size = model.architecture, ELEMENT_BYTES[dtype]
    count = tokens.max_input + tokens.max_new
    one = cache_bytes(shape, count, size)
    parts = min(shards, shape.kv_heads)
    per_token = f"2 × {shape.decoder_layers} layers × {shape.kv_heads} heads × {shape.head_dim} × {size}"
    local = ""
    if shape.sliding_window and count > shape.sliding_window:
        local = f", local layers keep {shape.sliding_window} tokens"
    shared = f" / {parts} devices" if parts > 1 else ""
    plural = "sequence" if sequences == 1 else "sequences"
    return SizingLine(
        "cache",
        -(-sequences * one // parts),
        f"{sequences} {plural} × ({tokens.max_input} + {tokens.max_new}) tokens "
        f"× {cache_bytes_per_token(shape, size):,} bytes ({per_token}{local}){shared}",
    )


def activations(model: ModelSpec, tokens: TokenLimits, dtype: str) -> SizingLine:
    """Estimates the live tensors of one layer of one forward pass, as inference keeps no others.

    Encoder-decoders hold attention scores with their bias; decoders compute attention in blocks and hold the
    mask alone.
    """
    shape, size, count = model.architecture, ELEMENT_BYTES[dtype], tokens.max_input
    hidden = count * (_HIDDEN_COPIES * shape.d_model + _FEED_FORWARD_COPIES * shape.d_ff)
    score_copies = _SCORE_COPIES * shape.heads if model.family == "encoder-decoder" else 1
    elements = hidden + score_copies * count * count + _SCORE_COPIES * shape.vocab
    arithmetic = (
        f"({count} tokens × ({_HIDDEN_COPIES} × {shape.d_model} + {_FEED_FORWARD_COPIES} × {shape.d_ff}) "
        f"+ {score_copies} × {count}² scores + {_SCORE_COPIES} × {shape.vocab} logits) × {size} bytes, "
        "assumed"
    )
    return SizingLine("activations", elements * size, arithmetic)


def runtime(processes: int = 1) -> SizingLine:
    """Counts Python and its libraries in each process."""
    each = f"{human(RUNTIME_BYTES)} for Python, torch and transformers (748 MiB measured)"
    return SizingLine(
        "runtime", processes * RUNTIME_BYTES, each if processes == 1 else f"{processes} processes × {each}"
    )


def mount() -> SizingLine:
    """Counts what a bucket mounted in Cloud Run takes of the container's memory."""
    # cloud.google.com/run/docs/configuring/services/cloud-storage-volume-mounts, "Memory requirements".
    size = _FUSE_CACHE_BYTES + _FUSE_OPEN_FILES * MIB
    return SizingLine(
        "mount", size, f"32 MB stat cache + 4 MB type cache + {_FUSE_OPEN_FILES} open files × 1 MiB"
    )


def cuda() -> SizingLine:
    """Counts what CUDA itself takes of a GPU."""
    return SizingLine("CUDA", CUDA_BYTES, f"{human(CUDA_BYTES)} for context and kernels, assumed")


def headroom(lines: Iterable[SizingLine]) -> SizingLine:
    """Adds what is kept free."""
    return SizingLine(
        "headroom",
        total(lines) * HEADROOM_PERCENT // 100,
        f"{HEADROOM_PERCENT} % of the above, assumed",
    )


def with_headroom(lines: Iterable[SizingLine]) -> tuple[SizingLine, ...]:
    """Gives the terms and, last, what is kept free."""
    listed = tuple(lines)
    return (*listed, headroom(listed))
