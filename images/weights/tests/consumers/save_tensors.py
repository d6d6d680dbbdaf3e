"""Run by the consumers' interpreter: saves tensors of all kinds with torch.save, and says what is in them.

Argument: a folder. Prints as JSON for each file the type, shape and sha256 (of the elements row by row) of
each tensor, and the groups of names that are one tensor.
"""

import hashlib
import json
import sys
from collections import OrderedDict
from pathlib import Path

import torch

CODES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8",
    torch.bool: "BOOL",
}  # fmt: skip


def describe(value: torch.Tensor) -> list:
    """Type, shape and digest."""
    content = value.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()
    return [CODES[value.dtype], list(value.shape), hashlib.sha256(content).hexdigest()]


def states() -> dict[str, dict]:
    """Dictionaries of tensors by name."""
    types = {code: torch.arange(24).reshape(4, 6).to(dtype) for dtype, code in CODES.items()}
    shapes = {
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0),
        "flat": torch.empty(3, 0, 2),
        "ünï": torch.ones(1),
    }
    base, large = torch.randn(60), torch.randn(6, 7, 8)
    views = {
        "whole": base, "same": base, "part": base[20:30], "rest": base[30:].view(5, 6), "none": base[10:10],
        "overlap": base[25:40], "one": base[59],
    }  # fmt: skip
    strides = {
        "transposed": large[0].t(), "permuted": large.permute(2, 0, 1), "turned": large.permute(2, 1, 0),
        "inner": large.transpose(1, 2), "every": large[:, ::3, ::2], "columns": large[2, :, 3:5],
        "column": large[2, :, 3], "expanded": torch.tensor([1.5, 2.5])[:, None].expand(2, 3),
        "repeated": torch.tensor(7, dtype=torch.int16).expand(2, 4),
        "kernel": torch.randn(2, 3, 4, 5).permute(3, 2, 0, 1),
        "channels": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "half": torch.randn(33, 65).half().t(), "bits": (torch.randn(9, 5) > 0).t(),
        "long": torch.arange(70).view(7, 10).t(),
    }  # fmt: skip
    shared = torch.nn.Parameter(torch.randn(3, 3))
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    return {
        "types": types,
        "shapes": shapes,
        "views": views,
        "strides": strides,
        "parameters": {
            "a": shared,
            "b": shared,
            "c": torch.nn.Parameter(torch.zeros(2), requires_grad=False),
        },
        "module": module.state_dict(),
        "ordered": OrderedDict(z=torch.ones(2), a=torch.zeros(3)),
        "many": {f"layers.{number}.weight": torch.full((2,), float(number)) for number in range(700)},
    }


def same(state: dict) -> list[list[str]]:
    """Names by identical view."""
    groups: dict = {}
    for name, value in state.items():
        place = (value.untyped_storage().data_ptr(), value.storage_offset(), value.shape, value.stride())
        groups.setdefault(place if value.numel() else name, []).append(name)
    return sorted(sorted(names) for names in groups.values() if len(names) > 1)


def write(folder: Path) -> dict[str, dict]:
    """Save each in both formats, one with the pickle protocols that torch.save can be told to use."""
    found = {}
    for name, state in states().items():
        ways = {"zip": {}, "legacy": {"_use_new_zipfile_serialization": False}}
        if name == "views":
            ways |= {f"protocol{number}": {"pickle_protocol": number} for number in (3, 4, 5)}
        for way, options in ways.items():
            torch.save(state, folder / f"{name}-{way}.bin", **options)
            described = {key: describe(value) for key, value in state.items()}
            found[f"{name}-{way}"] = {"tensors": described, "same": same(state)}
    return found


def write_others(folder: Path) -> None:
    """Save what is no state dict of plain tensors."""
    ones = torch.ones(3)
    others = {
        "nested": {"model": {"a": ones}, "epoch": 3},
        "number": {"a": ones, "step": 3},
        "list": [ones],
        "tensor": ones,
        "module": torch.nn.Linear(2, 2),
        "float8": {"a": ones.to(torch.float8_e4m3fn)},
        "complex": {"a": ones.to(torch.complex64)},
        "sparse": {"a": torch.eye(3).to_sparse()},
        "window": {"a": torch.arange(100.0).unfold(0, 5, 1)},
        "device": {"a": ones, "b": torch.device("cpu")},
        "numbered": {1: ones},
        "nothing": {},
    }
    for name, content in others.items():
        torch.save(content, folder / f"other-{name}-zip.bin")
        torch.save(content, folder / f"other-{name}-legacy.bin", _use_new_zipfile_serialization=False)
    torch.jit.script(torch.nn.Linear(2, 2)).save(folder / "other-script-zip.bin")


if __name__ == "__main__":
    torch.manual_seed(3)
    sys.stdout.write(json.dumps(write(Path(sys.argv[1]))))
    write_others(Path(sys.argv[1]))
