"""Parameters and cache of a transformer, computed from its shape.

Sources of the formulas: the module definitions in Hugging Face transformers, which a test builds and counts
for every model of the catalog, and "Attention Is All You Need" (arXiv 1706.03762) for the cache: each layer
keeps one key and one value vector per token and key-value head.
"""

from __future__ import annotations

from collections.abc import Callable

from stacks.plan.spec import Architecture, ModelSpec

_T5_RELATIVE_BUCKETS = 32

_SCALE_BYTES = 4
"""Bytes of a scale, and of an element that is not quantised: float32."""

_BART_POSITION_OFFSET = 2
"""BART's first position is number two: its tables have two rows more than it has positions."""


def count_parameters(shape: Architecture) -> int:
    """Counts the parameters of a language model of this shape; tied embeddings count once."""
    return _FORMULAS[shape.kind](shape)


def parameters(model: ModelSpec) -> int:
    """Gives the parameters of a whole model, its vision tower too: as stated, else computed."""
    return model.parameters or count_parameters(model.architecture) + model.vision_parameters


def cache_bytes_per_token(shape: Architecture, element_bytes: int) -> int:
    """Computes what a token adds to the cache: 2 × decoder layers × key-value heads × head size × bytes.

    A decoder caches prompt and answer alike. An encoder-decoder caches each token of the answer for
    self-attention and each token of the prompt, once, for cross-attention: the same size for each.

    Args:
        shape: the model's architecture.
        element_bytes: size of one cached element, 4 for float32.
    """
    return 2 * shape.decoder_layers * shape.kv_heads * shape.head_dim * element_bytes


def cache_bytes(shape: Architecture, tokens: int, element_bytes: int) -> int:
    """Computes the cache of one sequence; a local layer keeps the tokens of its window alone.

    Args:
        shape: the model's architecture.
        tokens: of prompt and answer together.
        element_bytes: size of one cached element, 4 for float32.
    """
    everywhere = cache_bytes_per_token(shape, element_bytes)
    global_layers = shape.decoder_layers // shape.global_every
    local_layers = shape.decoder_layers - global_layers
    kept = global_layers * tokens + local_layers * min(tokens, shape.sliding_window)
    return everywhere // shape.decoder_layers * kept


def quantised_bytes(model: ModelSpec) -> int:
    """Gives the bytes of a model's weights in int8, with their scales and what is not quantised.

    CTranslate2 keeps a float32 scale for each row of a matrix and of the embedding, and vectors as float32
    (`LinearSpec.weight_scale` and `EmbeddingsSpec.weight_scale` in `ctranslate2/specs`).

    Raises:
        ValueError: the rows of models of this kind are not counted.
    """
    rows, vectors = quantised_parts(model.architecture)
    return parameters(model) - vectors + _SCALE_BYTES * (rows + vectors)


def quantised_parts(shape: Architecture) -> tuple[int, int]:
    """Counts the rows of a T5's matrices, and the elements that are in no matrix.

    Raises:
        ValueError: it is no T5.
    """
    if shape.kind not in ("t5", "t5-gated"):
        raise ValueError(f"kind {shape.kind}: int8 is counted for the T5 kinds alone")
    attention = shape.head_dim * (shape.heads + 2 * shape.kv_heads) + shape.d_model
    feed_forward = (1 if shape.kind == "t5" else 2) * shape.d_ff + shape.d_model
    encoder = shape.encoder_layers * (attention + feed_forward)
    decoder = shape.decoder_layers * (2 * attention + feed_forward)
    embeddings = (1 if shape.tied_embeddings else 2) * shape.vocab
    norms = (2 * shape.encoder_layers + 3 * shape.decoder_layers + 2) * shape.d_model
    tables = 2 * _T5_RELATIVE_BUCKETS * shape.heads
    return encoder + decoder + embeddings, norms + tables


def largest_tensor_elements(shape: Architecture) -> int:
    """Gives the elements of the largest single tensor: the embedding or one feed-forward matrix."""
    return max(shape.vocab * shape.d_model, shape.d_model * shape.d_ff)


def _embeddings(shape: Architecture) -> int:
    copies = 1 if shape.tied_embeddings else 2
    return copies * shape.vocab * shape.d_model


def _attention(shape: Architecture) -> int:
    """Query, key, value and output projections without bias."""
    return 2 * shape.d_model * shape.head_dim * (shape.heads + shape.kv_heads)


def _biased_attention(shape: Architecture) -> int:
    """The same with a bias each, where there are as many key-value heads as heads."""
    return _attention(shape) + 3 * shape.heads * shape.head_dim + shape.d_model


def _biased_feed_forward(shape: Architecture) -> int:
    """Two matrices with a bias each."""
    return 2 * shape.d_model * shape.d_ff + shape.d_ff + shape.d_model


def _t5(shape: Architecture) -> int:
    """T5: two feed-forward matrices, else as T5 1.1."""
    return _t5_with(shape, feed_forward_matrices=2)


def _t5_gated(shape: Architecture) -> int:
    """T5 1.1: gated feed-forward, three matrices."""
    return _t5_with(shape, feed_forward_matrices=3)


def _t5_with(shape: Architecture, feed_forward_matrices: int) -> int:
    """No biases, scale-only norms, relative positions.

    One relative-position table for the encoder and one for the decoder, 32 buckets × heads each.
    """
    d = shape.d_model
    feed_forward = feed_forward_matrices * d * shape.d_ff
    encoder = shape.encoder_layers * (_attention(shape) + feed_forward + 2 * d)
    decoder = shape.decoder_layers * (2 * _attention(shape) + feed_forward + 3 * d)
    tables = 2 * _T5_RELATIVE_BUCKETS * shape.heads
    return _embeddings(shape) + encoder + decoder + tables + 2 * d


def _bart(shape: Architecture) -> int:
    """BART: biases everywhere, norms with scale and shift, learned positions for encoder and decoder.

    Each side has a norm after its embeddings and none after its last layer. The bias of the final logits is
    a buffer and no parameter.
    """
    d = shape.d_model
    attention, feed_forward = _biased_attention(shape), _biased_feed_forward(shape)
    encoder = shape.encoder_layers * (attention + feed_forward + 4 * d)
    decoder = shape.decoder_layers * (2 * attention + feed_forward + 6 * d)
    positions = 2 * (shape.positions + _BART_POSITION_OFFSET) * d
    return _embeddings(shape) + positions + encoder + decoder + 4 * d


def _gpt(shape: Architecture) -> int:
    """GPT-2 and GPT-NeoX: biases everywhere, two norms with scale and shift in each layer.

    GPT-2 has learned positions, GPT-NeoX rotary ones without parameters.
    """
    d = shape.d_model
    layer = _biased_attention(shape) + _biased_feed_forward(shape) + 4 * d
    return _embeddings(shape) + shape.positions * d + shape.decoder_layers * layer + 2 * d


def _llama(shape: Architecture) -> int:
    """Llama and the first Gemma: grouped-query attention, two scale-only norms in each layer, no biases."""
    return _gated_decoder(shape, norms=2 * shape.d_model)


def _qwen3(shape: Architecture) -> int:
    """Qwen3: as Llama, and norms of queries and keys in each layer."""
    return _gated_decoder(shape, norms=2 * shape.d_model + 2 * shape.head_dim)


def _gemma3(shape: Architecture) -> int:
    """Gemma 3: norms before and after attention and feed-forward, and those of queries and keys."""
    return _gated_decoder(shape, norms=4 * shape.d_model + 2 * shape.head_dim)


def _gated_decoder(shape: Architecture, norms: int) -> int:
    """Layers of attention, gated feed-forward and norms; one norm at the end; rotary positions."""
    layer = _attention(shape) + 3 * shape.d_model * shape.d_ff + norms
    return _embeddings(shape) + shape.decoder_layers * layer + shape.d_model


_FORMULAS: dict[str, Callable[[Architecture], int]] = {
    "t5": _t5,
    "t5-gated": _t5_gated,
    "bart": _bart,
    "gpt2": _gpt,
    "gpt-neox": _gpt,
    "llama": _llama,
    "gemma3": _gemma3,
    "qwen3": _qwen3,
}
