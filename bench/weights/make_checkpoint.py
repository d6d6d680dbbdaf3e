"""Writes a checkpoint with the tensors of a real model class and random values, a piece at a time.

Run with the serving image's Python, which has transformers: `python -m bench.weights.make_checkpoint`. The
class itself names the tensors (on PyTorch's `meta` device, which holds no values), so it can load them again.
"""

from __future__ import annotations

import argparse
import json
import math
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rehearsal.hub.configurations import build

if TYPE_CHECKING:
    import numpy as np

PIECE = 4 * 1024 * 1024  # elements made at once
SPREAD = 0.02  # standard deviation, as language models are initialised: far from float16's ends
WIDTH = 4  # bytes of a float32

Shapes = Mapping[str, tuple[int, ...]]


def main() -> None:
    """Write one checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--architecture", type=json.loads, required=True, help="as in the catalog, as JSON")
    parser.add_argument("--folder", type=Path, required=True, help="receives the files; must not exist")
    parser.add_argument("--shard-bytes", type=int, help="at most this much in a file; default: one file")
    options = parser.parse_args()
    options.folder.mkdir(parents=True)
    write_checkpoint(options.folder, model_tensors(options.architecture, options.folder), options.shard_bytes)


def model_tensors(architecture: Mapping[str, object], folder: Path) -> Shapes:
    """The tensors that a model of this architecture has, each tied one once; writes its config.json."""
    import torch  # type: ignore[import-not-found]

    with torch.device("meta"):
        model = build(architecture)
    model.tie_weights()
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def write_checkpoint(folder: Path, tensors: Shapes, shard_bytes: int | None) -> None:
    """Write the weights as float32: `model.safetensors`, or shards with their index.

    Args:
        folder: Receives the files.
        tensors: Shapes, by name.
        shard_bytes: At most so many bytes of tensors in one file; None for a single file.
    """
    import numpy as np

    random = np.random.default_rng(20)
    shards = split(tensors, shard_bytes)
    names = (
        ["model.safetensors"]
        if shard_bytes is None
        else [f"model-{n:05d}-of-{len(shards):05d}.safetensors" for n in range(1, len(shards) + 1)]
    )
    for name, shard in zip(names, shards, strict=True):
        with (folder / name).open("wb") as file:
            file.write(header(shard))
            for piece in _values(random, sum(map(math.prod, shard.values()))):
                file.write(piece)
    if shard_bytes is not None:
        places = {tensor: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
        total = sum(size(shape) for shape in tensors.values())
        index = {"metadata": {"total_size": total}, "weight_map": places}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def size(shape: Iterable[int]) -> int:
    """Bytes of a tensor."""
    return math.prod(shape) * WIDTH


def split(tensors: Shapes, shard_bytes: int | None) -> list[Shapes]:
    """Deal tensors out, in their order, to files of at most `shard_bytes`; a larger one gets its own."""
    shards: list[dict[str, tuple[int, ...]]] = [{}]
    filled = 0
    for name, shape in tensors.items():
        if shard_bytes is not None and shards[-1] and filled + size(shape) > shard_bytes:
            shards.append({})
            filled = 0
        shards[-1][name] = shape
        filled += size(shape)
    return list(shards)


def header(tensors: Shapes) -> bytes:
    """What stands before the tensors' bytes (github.com/huggingface/safetensors, "Format")."""
    described: dict[str, object] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, shape in tensors.items():
        end = position + size(shape)
        described[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(described, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the elements are aligned where the file is mapped
    return struct.pack("<Q", len(text)) + text


def _values(random: np.random.Generator, elements: int) -> Iterator[memoryview]:
    import numpy as np

    for start in range(0, elements, PIECE):
        values = random.standard_normal(min(PIECE, elements - start), dtype=np.float32) * np.float32(SPREAD)
        yield memoryview(values).cast("B")


if __name__ == "__main__":
    main()
