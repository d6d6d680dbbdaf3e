"""Small checkpoints, made byte by byte."""

import json
import random

from fake_hub import Blob

BITS = {"F64": 64, "F32": 32, "BF16": 16, "I64": 64}


def safetensors(tensors: dict[str, tuple[str, int]], seed: int = 0) -> bytes:
    """A safetensors file of one-dimensional tensors, given by dtype and length, with random bytes."""
    header: dict[str, dict] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, (dtype, length) in tensors.items():
        end = position + length * BITS[dtype] // 8
        header[name] = {"dtype": dtype, "shape": [length], "data_offsets": [position, end]}
        position = end
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + random.Random(seed).randbytes(position)


def single(elements: int = 1000, dtype: str = "F32") -> dict[str, Blob]:
    """A repository with one weights file, what belongs to it, and what does not."""
    weights = safetensors({"embed": (dtype, elements), "positions": ("I64", 4)})
    return {
        "model.safetensors": Blob(weights, large=True),
        "config.json": Blob(b'{"model_type": "t5"}', large=False),
        "tokenizer.json": Blob(b"{}" * 500, large=True),
        "tokenizer_config.json": Blob(b"{}", large=False),
        "chat_template.jinja": Blob(b"", large=False),
        "spiece.model": Blob(b"pieces", large=True),
        "pytorch_model.bin": Blob(b"pickle", large=True),
        "flax_model.msgpack": Blob(b"flax", large=True),
        "README.md": Blob(b"# tiny", large=False),
        "onnx/config.json": Blob(b"{}", large=False),
    }


def sharded(shards: int = 3, elements: int = 1000) -> dict[str, Blob]:
    """A repository whose weights lie in several files."""
    names = [f"model-{n + 1:05}-of-{shards:05}.safetensors" for n in range(shards)]
    index = {"metadata": {}, "weight_map": {f"layer.{n}": name for n, name in enumerate(names)}}
    blobs = {
        name: Blob(safetensors({f"layer.{n}": ("F32", elements)}, n), large=True)
        for n, name in enumerate(names)
    }
    return blobs | {
        "model.safetensors.index.json": Blob(json.dumps(index).encode(), large=False),
        "config.json": Blob(b'{"model_type": "t5"}', large=False),
    }


def t5_shards(lengths: tuple[int, ...] = (2_150_000, 2_150_000, 50_000)) -> dict[str, Blob]:
    """A repository of a model type that every format knows, in shards of so many elements."""
    names = [f"model-{n + 1:05}-of-{len(lengths):05}.safetensors" for n in range(len(lengths))]
    tensors: list[dict[str, tuple[str, int]]] = [
        {f"encoder.block.{n}.layer.0.SelfAttention.q.weight": ("F32", length)}
        for n, length in enumerate(lengths)
    ]
    tensors[0] |= {"shared.weight": ("F32", 1000)}
    index = {
        "metadata": {},
        "weight_map": {tensor: name for name, held in zip(names, tensors, strict=True) for tensor in held},
    }
    weights = {
        name: Blob(safetensors(held, n), large=True)
        for n, (name, held) in enumerate(zip(names, tensors, strict=True))
    }
    return weights | {
        "model.safetensors.index.json": Blob(json.dumps(index).encode(), large=False),
        "config.json": Blob(b'{"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]}', False),
        "tokenizer.json": Blob(b"{}" * 500, large=True),
    }
