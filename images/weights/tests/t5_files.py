"""T5 checkpoints written without any library: real names and shapes, random numbers."""

import json
from pathlib import Path

import numpy as np
from fake_hub import Blob
from tensor_files import tensor_file

CONFIG = {
    "model_type": "t5",
    "architectures": ["T5ForConditionalGeneration"],
    "vocab_size": 40,
    "d_model": 16,
    "d_kv": 4,
    "d_ff": 24,
    "num_layers": 2,
    "num_heads": 2,
    "decoder_start_token_id": 0,
    "torch_dtype": "float32",
}
TOKENIZER = {
    "model": {"type": "Unigram", "vocab": [["<pad>", 0.0], ["</s>", 0.0], ["<unk>", 0.0], ["a", -1.0]]},
    "added_tokens": [{"id": 0, "content": "<pad>"}, {"id": 4, "content": "<extra_id_0>"}],
}


def shapes(config: dict) -> dict[str, tuple[int, ...]]:
    """Shape by name of a T5 whose head is tied and whose feed-forward layers have no gate."""
    width, inner, heads = config["d_model"], config["d_ff"], config["num_heads"]
    rows = heads * config["d_kv"]
    found: dict[str, tuple[int, ...]] = {"shared.weight": (config["vocab_size"], width)}
    for stack, attentions in (
        ("encoder", ["SelfAttention"]),
        ("decoder", ["SelfAttention", "EncDecAttention"]),
    ):
        found[f"{stack}.final_layer_norm.weight"] = (width,)
        found[f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"] = (32, heads)
        for layer in range(config["num_layers"]):
            block = f"{stack}.block.{layer}.layer"
            for number, attention in enumerate(attentions):
                found |= {f"{block}.{number}.{attention}.{letter}.weight": (rows, width) for letter in "qkv"}
                found[f"{block}.{number}.{attention}.o.weight"] = (width, rows)
            last = len(attentions)
            found |= {f"{block}.{number}.layer_norm.weight": (width,) for number in range(last + 1)}
            found[f"{block}.{last}.DenseReluDense.wi.weight"] = (inner, width)
            found[f"{block}.{last}.DenseReluDense.wo.weight"] = (width, inner)
    return dict(sorted(found.items()))


def tensors(config: dict, dtype: str = "float32") -> dict[str, np.ndarray]:
    """Random tensors by name."""
    random = np.random.default_rng(11)
    return {name: random.normal(size=shape).astype(dtype) for name, shape in shapes(config).items()}


def t5_folder(
    folder: Path, config: dict = CONFIG, tokenizer: dict = TOKENIZER, **changed: np.ndarray
) -> Path:
    """A checkpoint in one file; ``changed`` replaces or adds tensors by name, with dots as ``__``."""
    folder.mkdir(parents=True)
    held = tensors(config) | {name.replace("__", "."): value for name, value in changed.items()}
    (folder / "model.safetensors").write_bytes(tensor_file(held))
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder


def t5_blobs(config: dict) -> dict[str, Blob]:
    """A repository with the weights in two files."""
    held = list(tensors(config).items())
    half = len(held) // 2
    names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    parts = dict(zip(names, (dict(held[:half]), dict(held[half:])), strict=True))
    index = {"metadata": {}, "weight_map": {tensor: name for name, part in parts.items() for tensor in part}}
    return {name: Blob(tensor_file(part), large=True) for name, part in parts.items()} | {
        "model.safetensors.index.json": Blob(json.dumps(index).encode(), large=False),
        "config.json": Blob(json.dumps(config).encode(), large=False),
        "tokenizer.json": Blob(json.dumps(TOKENIZER).encode(), large=True),
    }
