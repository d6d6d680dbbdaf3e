"""The terms of a sizing sum: what each holds in memory, and the arithmetic that says so."""

from __future__ import annotations

from collections.abc import Iterable

from stacks.plan.architecture import (
    cache_bytes,
    cache_bytes_per_token,
    largest_tensor_elements,
    parameters,
    quantised_bytes,
    quantised_parts,
)
from stacks.plan.batching import STEP_TOKENS, Batch, batch_of
from stacks.plan.quantity import GIB, MIB, human
from stacks.plan.spec import ELEMENT_BYTES, ModelSpec
from stacks.plan.tokens import TokenLimits
from stacks.plan.types import SizingLine

QUANTISED = ("int8",)
"""Element types of weights that are computed with in float32: each matrix product gives float32 back."""

RUNTIME_BYTES = 800 * MIB
"""Python with torch, transformers and a web server, after one answer of a tiny model: 748 MiB resident were
measured with torch 2.15 for CPU and transformers 5.23, and 595 MiB with CTranslate2 4.8.5; rounded up."""

CUDA_BYTES = GIB
"""CUDA context and kernels on the GPU. Assumed."""

JAVA_HEAP_BYTES = 512 * MIB
"""Heap of TorchServe's frontend: images/torchserve starts it with -Xmx512m."""

JAVA_OTHER_BYTES = 256 * MIB
"""What Java takes beside its heap: code, threads, buffers. Assumed."""

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


def between_layers(dtype: str) -> str:
    """Gives the element type of what layers hand on and cache, for an element type of computing."""
    return "float32" if dtype in QUANTISED else dtype


def quantised_weights(model: ModelSpec) -> SizingLine:
    """Counts weights whose matrices are int8 with a scale for each row."""
    rows, vectors = quantised_parts(model.architecture)
    matrices = parameters(model) - vectors
    return SizingLine(
        "weights",
        quantised_bytes(model),
        f"{matrices:,} elements of matrices × 1 byte (int8) + {rows:,} rows' scales × 4 bytes "
        f"+ {vectors:,} other elements × 4 bytes (float32)",
    )


def loading(model: ModelSpec, dtype: str) -> SizingLine:
    """Counts what loading holds beside the weights: one tensor, the largest, in the file's element type.

    Measured with transformers 5.23 and models of 0.3 and 0.4 billion parameters: weights in the file's own
    element type stay mapped, and the process has 0.1 GiB of its own; converted ones are its own and no more
    than one tensor's copy beside them, while the file's mapped pages can be dropped when memory runs short.
    """
    stored = model.checkpoint_dtype
    same = "no second copy of the weights is held (measured)"
    why = same if stored == dtype else f"converted to {dtype} one tensor at a time (measured)"
    return _one_tensor(model, stored, why)


def reading(model: ModelSpec, dtype: str) -> SizingLine:
    """Counts what CTranslate2 holds beside the weights as it reads them: one tensor, the largest.

    Its files have the element type that it computes in (`models/model.cc`: each variable is read by itself).
    """
    return _one_tensor(model, dtype, "read one tensor at a time")


def _one_tensor(model: ModelSpec, dtype: str, why: str) -> SizingLine:
    count, size = largest_tensor_elements(model.architecture), ELEMENT_BYTES[dtype]
    return SizingLine(
        "loading",
        count * size,
        f"{count:,} elements of the largest tensor × {size} byte{'s' if size > 1 else ''} ({dtype}): {why}",
    )


def cache(
    model: ModelSpec,
    tokens: TokenLimits,
    dtype: str,
    *,
    sequences: int = 1,
    shards: int = 1,
    windows: bool = True,
) -> SizingLine:
    """Counts a device's part of the key-value cache of so many sequences.

    Args:
        model: what is cached for.
        tokens: limits of one sequence.
        dtype: element type of the cache.
        sequences: how many have a place.
        shards: devices that hold the model together.
        windows: whether local layers get the room of their window alone. `PagedAttentionCache` of
            transformers has room for every token in every layer.

    Devices share a cache by key-value heads: more devices than heads hold copies (vLLM,
    `ModelConfig.get_num_kv_heads`).
    """
    shape, size = model.architecture, ELEMENT_BYTES[dtype]
    count = tokens.max_input + tokens.max_new
    one = cache_bytes(shape, count, size) if windows else count * cache_bytes_per_token(shape, size)
    parts = min(shards, shape.kv_heads)
    per_token = f"2 × {shape.decoder_layers} layers × {shape.kv_heads} heads × {shape.head_dim} × {size}"
    local = ""
    if windows and shape.sliding_window and count > shape.sliding_window:
        local = f", local layers keep {shape.sliding_window} tokens"
    shared = f" / {parts} devices" if parts > 1 else ""
    plural = "sequence" if sequences == 1 else "sequences"
    return SizingLine(
        "cache",
        -(-sequences * one // parts),
        f"{sequences} {plural} × ({tokens.max_input} + {tokens.max_new}) tokens "
        f"× {cache_bytes_per_token(shape, size):,} bytes ({per_token}{local}){shared}",
    )


def activations(model: ModelSpec, tokens: TokenLimits, dtype: str, batch: Batch | None = None) -> SizingLine:
    """Estimates the live tensors of one layer of one forward pass, as inference keeps no others.

    A pass reads the prompts that start together; without a batch, that is one. However these are divided into
    prompts, they have no more scores than prompts of the greatest length.

    Encoder-decoders hold attention scores with their bias; decoders compute attention in blocks and hold the
    mask alone.
    """
    shape, size, batch = model.architecture, ELEMENT_BYTES[dtype], batch or batch_of(1, tokens)
    count = batch.prompt_tokens
    hidden = count * (_HIDDEN_COPIES * shape.d_model + _FEED_FORWARD_COPIES * shape.d_ff)
    score_copies = _SCORE_COPIES * shape.heads if model.family == "encoder-decoder" else 1
    elements = hidden + score_copies * count * tokens.max_input + _SCORE_COPIES * batch.rows * shape.vocab
    arithmetic = (
        f"({count} tokens × ({_HIDDEN_COPIES} × {shape.d_model} + {_FEED_FORWARD_COPIES} × {shape.d_ff}) "
        f"+ {score_copies} × {count} × {tokens.max_input} scores "
        f"+ {_SCORE_COPIES} × {batch.rows} × {shape.vocab} logits) × {size} bytes, assumed"
    )
    return SizingLine("activations", elements * size, arithmetic)


def reading_back(model: ModelSpec, dtype: str, batch: Batch) -> SizingLine:
    """Counts what a layer of continuous batching reads back of the cache, and the masks over it.

    transformers copies the keys and values of all requests out of its paged cache, then repeats them for each
    attention head (`PagedAttentionMemoryHandler` of transformers 5.23). Measured with 2 layers, 32 heads of
    128, 8 of them with keys and values, and 8192 cached tokens in float32: 286 MiB beside a cache of 128 MiB.

    Where layers are local, the masks are as wide as if the global ones had the whole cache.
    """
    shape, size, count = model.architecture, ELEMENT_BYTES[dtype], batch.cache_tokens
    heads, masks = 2 * shape.heads + shape.kv_heads, 2 if shape.sliding_window else 1
    step, global_layers = max(STEP_TOKENS, batch.rows), shape.decoder_layers // shape.global_every
    width = count * shape.decoder_layers // global_layers + step
    elements = count * heads * shape.head_dim + masks * step * width
    return SizingLine(
        "reading back",
        elements * size,
        f"({count} tokens × (2 × {shape.heads} + {shape.kv_heads}) heads × {shape.head_dim} "
        f"+ {masks} × {step} × {width} of masks) × {size} bytes",
    )


def runtime(processes: int = 1) -> SizingLine:
    """Counts Python and its libraries in each process."""
    each = (
        f"{human(RUNTIME_BYTES)} for Python and its libraries (748 MiB measured with torch and transformers)"
    )
    return SizingLine(
        "runtime", processes * RUNTIME_BYTES, each if processes == 1 else f"{processes} processes × {each}"
    )


def java() -> SizingLine:
    """Counts the Java process of TorchServe, which holds requests and no model."""
    size = JAVA_HEAP_BYTES + JAVA_OTHER_BYTES
    return SizingLine(
        "Java", size, f"{human(JAVA_HEAP_BYTES)} heap (-Xmx) + {human(JAVA_OTHER_BYTES)} beside it, assumed"
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
