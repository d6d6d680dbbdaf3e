"""The program as a person starts it in a folder, and small checkpoints to give it."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "WEIGHTS_RETRY_SECONDS": "20",
    "WEIGHTS_PERMISSION_SECONDS": "20",
}
NUMPY = {"F32": "<f4", "F16": "<f2", "F64": "<f8", "I64": "<i8", "BF16": "<u2", "U8": "u1", "BOOL": "u1"}


def weights(
    *arguments: str | Path, before: tuple[str, ...] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the program to its end.

    Args:
        arguments: Its arguments.
        before: A command that starts it, such as ``prlimit``.
        environment: Variables beside the usual ones.
    """
    return subprocess.run(
        [*before, sys.executable, "-m", "weights", *map(str, arguments)],
        env=ENVIRONMENT | environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def convert(source: str | Path, target: str | Path, dtype: str = "bfloat16", **more: object) -> list[str]:
    """Arguments of a conversion."""
    form = str(more.get("form", "safetensors"))
    return [
        "convert",
        *("--source", str(source)),
        *("--target", str(target)),
        *("--format", form),
        *("--dtype", dtype),
    ]


def header(tensors: dict[str, tuple[str, list[int], bytes]]) -> bytes:
    """The header of a safetensors file."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name, (dtype, shape, content) in tensors.items():
        entries[name] = {
            "dtype": dtype,
            "shape": shape,
            "data_offsets": [position, position + len(content)],
        }
        position += len(content)
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text


def safetensors(tensors: dict[str, tuple[str, list[int], bytes]]) -> bytes:
    """A safetensors file of tensors given by type, shape and bytes."""
    return header(tensors) + b"".join(content for _, _, content in tensors.values())


def read_back(path: Path) -> dict[str, tuple[str, list[int], bytes]]:
    """The tensors of a safetensors file, read here without the code under test."""
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    entries = json.loads(content[8 : 8 + size])
    entries.pop("__metadata__", None)
    data = content[8 + size :]
    return {
        name: (entry["dtype"], entry["shape"], data[slice(*entry["data_offsets"])])
        for name, entry in entries.items()
    }


def floats(count: int, number: int = 0) -> bytes:
    """So many float32 as weights have them."""
    return np.random.default_rng(number).normal(0, 0.05, count).astype("<f4").tobytes()


def single_folder(folder: Path, elements: int = 1000) -> Path:
    """A checkpoint with one weights file."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        "embed": ("F32", [elements // 10, 10], floats(elements // 10 * 10)),
        "positions": ("I64", [4], np.arange(4, dtype="<i8").tobytes()),
        "scale": ("F32", [], floats(1, 1)),
        "nothing": ("F32", [0, 3], b""),
    }
    (folder / "model.safetensors").write_bytes(safetensors(tensors))
    return _beside(folder)


def sharded_folder(folder: Path, shards: int = 3, elements: int = 1000) -> Path:
    """A checkpoint with several weights files and an index."""
    folder.mkdir(parents=True, exist_ok=True)
    places = {}
    for number in range(shards):
        name = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        tensors = {f"layer.{number}.weight": ("F32", [elements], floats(elements, number))}
        (folder / name).write_bytes(safetensors(tensors))
        places |= dict.fromkeys(tensors, name)
    index = {"metadata": {"total_size": 4 * shards * elements}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return _beside(folder)


def _beside(folder: Path) -> Path:
    (folder / "config.json").write_text('{"model_type": "t5", "torch_dtype": "float32"}')
    (folder / "tokenizer.json").write_text("{}")
    (folder / "training.log").write_text("not part of the model")
    return folder


def content(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def assert_whole(folder: Path) -> dict[str, object]:
    """The folder holds a complete model and nothing else; gives its manifest."""
    found = content(folder)
    manifest: dict[str, object] = json.loads(found.pop("manifest.json"))
    listed = manifest["files"]
    assert isinstance(listed, list)
    assert listed == [
        {"name": name, "size": len(found[name]), "sha256": hashlib.sha256(found[name]).hexdigest()}
        for name in sorted(found)
    ]
    assert [path.name for path in folder.iterdir() if path.is_dir() and path.name.startswith(".")] == []
    return manifest
