"""How much memory a deployment needs, term by term.

Terms marked "assumed" are estimates of this project, not figures of Google or of a library's documentation.
"""

from __future__ import annotations

from collections.abc import Iterable

from stacks.plan.architecture import cache_bytes_per_token, largest_tensor_elements, parameters
from stacks.plan.quantity import GIB, MIB, human
from stacks.plan.spec import DTYPE_BYTES, Dtype, ModelSpec
from stacks.plan.tokens import TokenLimits
from stacks.plan.types import SizingLine

SERVING_DTYPE: Dtype = "float32"
"""Element type that weights are staged in and computed with."""

FORWARD_PASSES = 1
"""Forward passes at once: the server computes one request after the other."""

RUNTIME_BYTES = 800 * MIB
"""Python with torch, transformers and a web server, after one answer of a tiny model: 748 MiB resident were
measured with torch 2.15 for CPU and transformers 5.23; rounded up."""

CUDA_BYTES = GIB
"""CUDA context and kernels on the GPU. Assumed."""

_FUSE_CACHE_BYTES = 36 * MIB
_FUSE_OPEN_FILES = 4
_HEADROOM = 10
"""Percent kept free: allocators fragment, and a container over its limit is killed. Assumed."""

# Live tensors of one layer, in multiples of the hidden and of the feed-forward size. Assumed.
_HIDDEN_COPIES = 6
_FEED_FORWARD_COPIES = 3
_SCORE_COPIES = 3


def host_lines(model: ModelSpec, tokens: TokenLimits) -> tuple[SizingLine, ...]:
    """Lists what a container needs in memory when the CPU computes."""
    lines = [
        _weights(model),
        _loading(model),
        _cache(model, tokens),
        _activations(model, tokens),
        _runtime(),
        _fuse(),
    ]
    return (*lines, _headroom(lines))


def gpu_host_lines(model: ModelSpec) -> tuple[SizingLine, ...]:
    """Lists what a container needs in memory when a GPU computes: the weights pass through it."""
    lines = [_weights(model), _loading(model), _runtime(), _fuse()]
    return (*lines, _headroom(lines))


def gpu_lines(model: ModelSpec, tokens: TokenLimits) -> tuple[SizingLine, ...]:
    """Lists what a deployment needs in the GPU's own memory."""
    cuda = SizingLine("CUDA", CUDA_BYTES, f"{human(CUDA_BYTES)} for context and kernels, assumed")
    lines = [_weights(model), _cache(model, tokens), _activations(model, tokens), cuda]
    return (*lines, _headroom(lines))


def total(lines: Iterable[SizingLine]) -> int:
    """Adds the terms, in bytes."""
    return sum(line.bytes for line in lines)


def sum_text(lines: Iterable[SizingLine]) -> str:
    """Writes the sum for a message: `weights 0.92 GiB + cache 54 MiB + …`."""
    return " + ".join(f"{line.what} {human(line.bytes)}" for line in lines)


def _weights(model: ModelSpec) -> SizingLine:
    count, size = parameters(model), DTYPE_BYTES[SERVING_DTYPE]
    return SizingLine("weights", count * size, f"{count:,} parameters × {size} bytes ({SERVING_DTYPE})")


def _loading(model: ModelSpec) -> SizingLine:
    count, size = largest_tensor_elements(model.architecture), DTYPE_BYTES[SERVING_DTYPE]
    why = "the largest tensor is held twice while it is copied from the mapped file"
    return SizingLine("loading", count * size, f"{count:,} elements × {size} bytes: {why}, assumed")


def _cache(model: ModelSpec, tokens: TokenLimits) -> SizingLine:
    shape = model.architecture
    size = DTYPE_BYTES[SERVING_DTYPE]
    token = cache_bytes_per_token(shape, size)
    count = tokens.max_input + tokens.max_new
    per_token = f"2 × {shape.decoder_layers} layers × {shape.kv_heads} heads × {shape.head_dim} × {size}"
    return SizingLine(
        "cache",
        FORWARD_PASSES * count * token,
        f"{FORWARD_PASSES} pass × ({tokens.max_input} + {tokens.max_new}) tokens "
        f"× {token:,} bytes ({per_token})",
    )


def _activations(model: ModelSpec, tokens: TokenLimits) -> SizingLine:
    """Estimates the live tensors of one layer, as inference keeps no others.

    Encoder-decoders of the T5 kind hold attention scores with their bias; decoders compute attention in
    blocks and hold the mask alone.
    """
    shape, size, count = model.architecture, DTYPE_BYTES[SERVING_DTYPE], tokens.max_input
    hidden = count * (_HIDDEN_COPIES * shape.d_model + _FEED_FORWARD_COPIES * shape.d_ff)
    score_copies = _SCORE_COPIES * shape.heads if model.family == "encoder-decoder" else 1
    elements = hidden + score_copies * count * count + _SCORE_COPIES * shape.vocab
    arithmetic = (
        f"({count} tokens × ({_HIDDEN_COPIES} × {shape.d_model} + {_FEED_FORWARD_COPIES} × {shape.d_ff}) "
        f"+ {score_copies} × {count}² scores + {_SCORE_COPIES} × {shape.vocab} logits) × {size} bytes, "
        "assumed"
    )
    return SizingLine("activations", FORWARD_PASSES * elements * size, arithmetic)


def _runtime() -> SizingLine:
    return SizingLine(
        "runtime",
        RUNTIME_BYTES,
        f"{human(RUNTIME_BYTES)} for Python, torch and transformers (748 MiB measured)",
    )


def _fuse() -> SizingLine:
    # cloud.google.com/run/docs/configuring/services/cloud-storage-volume-mounts, "Memory requirements".
    size = _FUSE_CACHE_BYTES + _FUSE_OPEN_FILES * MIB
    return SizingLine(
        "mount", size, f"32 MB stat cache + 4 MB type cache + {_FUSE_OPEN_FILES} open files × 1 MiB"
    )


def _headroom(lines: Iterable[SizingLine]) -> SizingLine:
    return SizingLine("headroom", total(lines) * _HEADROOM // 100, f"{_HEADROOM} % of the above, assumed")
