"""Models that JetStream can serve, a few kilobytes each, as the Hub has them."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping
from pathlib import Path

from stacks.plan.catalog import catalog

HIDDEN, HEADS, WIDE, VOCABULARY = 8, 2, 16, 32
_COMMON = {
    "hidden_size": HIDDEN,
    "num_attention_heads": HEADS,
    "num_key_value_heads": HEADS,
    "intermediate_size": WIDE,
    "num_hidden_layers": 1,
    "vocab_size": VOCABULARY,
}
LLAMA, GEMMA = "meta-llama/Llama-2-7b-hf", "google/gemma-2b"
CONFIGURATIONS = {
    LLAMA: {**_COMMON, "model_type": "llama", "rms_norm_eps": 1e-5},
    GEMMA: {**_COMMON, "model_type": "gemma", "rms_norm_eps": 1e-6},
}
_SHAPES = {
    "model.embed_tokens": (VOCABULARY, HIDDEN),
    "model.norm": (HIDDEN,),
    "model.layers.0.input_layernorm": (HIDDEN,),
    "model.layers.0.post_attention_layernorm": (HIDDEN,),
    "model.layers.0.mlp.gate_proj": (WIDE, HIDDEN),
    "model.layers.0.mlp.up_proj": (WIDE, HIDDEN),
    "model.layers.0.mlp.down_proj": (HIDDEN, WIDE),
    **{f"model.layers.0.self_attn.{name}_proj": (HIDDEN, HIDDEN) for name in "qkvo"},
}


def write_models(root: Path) -> None:
    """Put them in place of whatever a Hub's folder has of them; their gates stay."""
    for seed, (repository, configuration) in enumerate(CONFIGURATIONS.items()):
        folder = root / repository / catalog()[repository].revision
        shapes = {**_SHAPES, **({"lm_head": (VOCABULARY, HIDDEN)} if repository == LLAMA else {})}
        (folder / "model.safetensors").write_bytes(_checkpoint(shapes, seed))
        (folder / "config.json").write_text(json.dumps(configuration))
        # A sentencepiece model is binary; nothing here reads it.
        (folder / "tokenizer.model").write_bytes(b"\x0a\x0e" + random.Random(seed).randbytes(64))


def _checkpoint(shapes: Mapping[str, tuple[int, ...]], seed: int) -> bytes:
    header, begin = {}, 0
    for name, shape in shapes.items():
        end = begin + 2 * math.prod(shape)
        header[f"{name}.weight"] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(header).encode()
    # The upper byte of each number is zero: none of them is infinite.
    numbers = bytes(byte for low in random.Random(seed).randbytes(begin // 2) for byte in (low, 0))
    return len(text).to_bytes(8, "little") + text + numbers
