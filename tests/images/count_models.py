"""Builds models on torch's `meta` device, where they take no memory, and measures them.

Run by the serving image's Python: reads a JSON list of catalog entries on standard input, writes one of
measurements by the entry's repository on standard output.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch  # type: ignore[import-not-found]
import transformers  # type: ignore[import-not-found]

from rehearsal.hub.configurations import Shape, build, configuration

# Of the vision tower that all Gemma 3 models with images share.
SIGLIP = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "patch_size": 14,
    "image_size": 896,
    "vision_use_head": False,
}


def whole(entry: dict[str, Any]) -> Any:
    """The model as its checkpoint makes it: with its vision tower, its own head, or as the first Gemma."""
    shape: Shape = entry["architecture"]
    if entry["visionParameters"]:
        both = transformers.Gemma3Config(text_config=configuration(shape), vision_config=SIGLIP)
        return transformers.Gemma3ForConditionalGeneration(both)
    if entry["repository"].startswith("google/gemma-2b"):
        return transformers.GemmaForCausalLM(transformers.GemmaConfig(**configuration(shape).to_diff_dict()))
    model = build(shape)
    if shape["kind"] == "t5-gated" and not shape["tiedEmbeddings"]:
        # transformers ties every T5 that it makes, and unties one whose checkpoint has a head of its own.
        model.lm_head.weight = torch.nn.Parameter(torch.empty(shape["vocab"], shape["dModel"]))
    return model


def count(model: Any) -> int:
    """Parameters, each once."""
    return sum(parameter.numel() for parameter in model.parameters())


def cached(shape: Shape, tokens: int) -> int:
    """Elements that a pass over so many tokens leaves in the cache: prompt and answer for a decoder, for an
    encoder-decoder so many of the prompt and one of the answer."""
    model = build(shape, attn_implementation="eager")
    ids = torch.zeros(1, tokens, dtype=torch.long)
    if not model.config.is_encoder_decoder:
        layers = model(input_ids=ids, use_cache=True).past_key_values.layers
    else:
        cache = model(input_ids=ids, decoder_input_ids=ids[:, :1], use_cache=True).past_key_values
        layers = [*cache.self_attention_cache.layers, *cache.cross_attention_cache.layers]
    return sum(layer.keys.numel() + layer.values.numel() for layer in layers)


def main() -> None:
    """Measures every entry."""
    transformers.logging.set_verbosity_error()
    found = {}
    with torch.device("meta"), torch.no_grad():
        for entry in json.load(sys.stdin):
            found[entry["repository"]] = {
                "parameters": count(whole(entry)),
                "cached": {tokens: cached(entry["architecture"], tokens) for tokens in entry["tokens"]},
            }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
