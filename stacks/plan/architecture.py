"""Parameters and cache of a transformer, computed from its shape.

Sources of the formulas: the module definitions of `T5ForConditionalGeneration`, `GPT2LMHeadModel` and
`LlamaForCausalLM` in Hugging Face transformers, and "Attention Is All You Need" (arXiv 1706.03762) for the
cache: each layer keeps one key and one value vector per token and key-value head.
"""

from __future__ import annotations

from collections.abc import Callable

from stacks.plan.spec import Architecture, ModelSpec

_T5_RELATIVE_BUCKETS = 32


def count_parameters(shape: Architecture) -> int:
    """Counts the parameters of a model of this shape; tied embeddings count once."""
    return _FORMULAS[shape.kind](shape)


def parameters(model: ModelSpec) -> int:
    """Gives a model's parameters: as stated, else computed."""
    return model.parameters or count_parameters(model.architecture)


def cache_bytes_per_token(shape: Architecture, element_bytes: int) -> int:
    """Computes what a token adds to the cache: 2 × decoder layers × key-value heads × head size × bytes.

    A decoder caches prompt and answer alike. An encoder-decoder caches each token of the answer for
    self-attention and each token of the prompt, once, for cross-attention: the same size for each.

    Args:
        shape: the model's architecture.
        element_bytes: size of one cached element, 4 for float32.
    """
    return 2 * shape.decoder_layers * shape.kv_heads * shape.head_dim * element_bytes


def largest_tensor_elements(shape: Architecture) -> int:
    """Gives the elements of the largest single tensor: the embedding or one feed-forward matrix."""
    return max(shape.vocab * shape.d_model, shape.d_model * shape.d_ff)


def _embeddings(shape: Architecture) -> int:
    copies = 1 if shape.tied_embeddings else 2
    return copies * shape.vocab * shape.d_model


def _attention(shape: Architecture) -> int:
    """Query, key, value and output projections without bias."""
    return 2 * shape.d_model * shape.head_dim * (shape.heads + shape.kv_heads)


def _t5_gated(shape: Architecture) -> int:
    """T5 1.1: gated feed-forward (three matrices), no biases, scale-only norms, relative positions.

    One relative-position table for the encoder and one for the decoder, 32 buckets × heads each.
    """
    d = shape.d_model
    feed_forward = 3 * d * shape.d_ff
    encoder = shape.encoder_layers * (_attention(shape) + feed_forward + 2 * d)
    decoder = shape.decoder_layers * (2 * _attention(shape) + feed_forward + 3 * d)
    tables = 2 * _T5_RELATIVE_BUCKETS * shape.heads
    return _embeddings(shape) + encoder + decoder + tables + 2 * d


def _gpt2(shape: Architecture) -> int:
    """GPT-2: learned positions, biases everywhere, two norms with scale and shift in each layer."""
    d, ff = shape.d_model, shape.d_ff
    attention = _attention(shape) + 4 * d
    feed_forward = 2 * d * ff + ff + d
    layer = attention + feed_forward + 4 * d
    return _embeddings(shape) + shape.positions * d + shape.decoder_layers * layer + 2 * d


def _llama(shape: Architecture) -> int:
    """Llama: grouped-query attention, gated feed-forward, scale-only norms, rotary positions, no biases."""
    d = shape.d_model
    layer = _attention(shape) + 3 * d * shape.d_ff + 2 * d
    return _embeddings(shape) + shape.decoder_layers * layer + d


_FORMULAS: dict[str, Callable[[Architecture], int]] = {
    "t5-gated": _t5_gated,
    "gpt2": _gpt2,
    "llama": _llama,
}
