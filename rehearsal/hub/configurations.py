"""Configurations and classes of transformers for the kinds of model that the catalog knows.

A shape is a catalog entry's `architecture` as plain data. transformers is imported where it is used:
environments without it import this module too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Shape = Mapping[str, Any]

MODEL_CLASSES = {
    "t5": "T5ForConditionalGeneration",
    "t5-gated": "T5ForConditionalGeneration",
    "bart": "BartForConditionalGeneration",
    "gpt2": "GPT2LMHeadModel",
    "gpt-neox": "GPTNeoXForCausalLM",
    "llama": "LlamaForCausalLM",
    "gemma3": "Gemma3ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}
"""Class of the language model, by kind."""


def configuration(shape: Shape, **more: Any) -> Any:
    """Makes the configuration of a model of a shape.

    Args:
        shape: with all the keys of a catalog entry's architecture.
        more: further arguments of the configuration's class.
    """
    import transformers  # type: ignore[import-not-found]

    name, arguments = _CONFIGURATIONS[shape["kind"]]
    common = {"vocab_size": shape["vocab"], "tie_word_embeddings": shape["tiedEmbeddings"]}
    return getattr(transformers, name)(**common, **arguments(shape), **more)


def build(shape: Shape, **more: Any) -> Any:
    """Makes a model of a shape, with new weights."""
    import transformers

    return getattr(transformers, MODEL_CLASSES[shape["kind"]])(configuration(shape, **more))


def _t5(shape: Shape) -> dict[str, Any]:
    return {
        "d_model": shape["dModel"],
        "d_kv": shape["headDim"],
        "d_ff": shape["dFf"],
        "num_layers": shape["encoderLayers"],
        "num_decoder_layers": shape["decoderLayers"],
        "num_heads": shape["heads"],
        "feed_forward_proj": "relu" if shape["kind"] == "t5" else "gated-gelu",
        "dropout_rate": 0.0,
    }


def _bart(shape: Shape) -> dict[str, Any]:
    return {
        "d_model": shape["dModel"],
        "encoder_layers": shape["encoderLayers"],
        "decoder_layers": shape["decoderLayers"],
        "encoder_ffn_dim": shape["dFf"],
        "decoder_ffn_dim": shape["dFf"],
        "encoder_attention_heads": shape["heads"],
        "decoder_attention_heads": shape["heads"],
        "max_position_embeddings": shape["positions"],
        "dropout": 0.0,
    }


def _gpt2(shape: Shape) -> dict[str, Any]:
    return {
        "n_embd": shape["dModel"],
        "n_inner": shape["dFf"],
        "n_layer": shape["decoderLayers"],
        "n_head": shape["heads"],
        "n_positions": shape["positions"],
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        "resid_pdrop": 0.0,
    }


def _decoder(shape: Shape) -> dict[str, Any]:
    return {
        "hidden_size": shape["dModel"],
        "intermediate_size": shape["dFf"],
        "num_hidden_layers": shape["decoderLayers"],
        "num_attention_heads": shape["heads"],
    }


def _grouped_decoder(shape: Shape) -> dict[str, Any]:
    """With fewer heads for keys and values, of a size that need not be a share of the model's."""
    return {**_decoder(shape), "num_key_value_heads": shape["kvHeads"], "head_dim": shape["headDim"]}


def _gemma3(shape: Shape) -> dict[str, Any]:
    layers = range(1, shape["decoderLayers"] + 1)
    return {
        **_grouped_decoder(shape),
        "sliding_window": shape["slidingWindow"],
        "layer_types": [
            "sliding_attention" if layer % shape["globalEvery"] else "full_attention" for layer in layers
        ],
    }


_CONFIGURATIONS: dict[str, tuple[str, Callable[[Shape], dict[str, Any]]]] = {
    "t5": ("T5Config", _t5),
    "t5-gated": ("T5Config", _t5),
    "bart": ("BartConfig", _bart),
    "gpt2": ("GPT2Config", _gpt2),
    "gpt-neox": ("GPTNeoXConfig", _decoder),
    "llama": ("LlamaConfig", _grouped_decoder),
    "gemma3": ("Gemma3TextConfig", _gemma3),
    "qwen3": ("Qwen3Config", _grouped_decoder),
}
