"""Files of the weights benchmark: the checkpoint that it writes, and the ranges that its Hub serves."""

from __future__ import annotations

import json
import struct
import subprocess
from pathlib import Path

import pytest

from bench.weights.hub import byte_range
from bench.weights.make_checkpoint import header, split

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / "images/weights/.venv/bin/python"
SHAPES: dict[str, tuple[int, ...]] = {"a": (3, 5), "b": (7,), "c": (2, 2, 2), "d": (1000,)}
WRITE = """
import sys
from pathlib import Path
from bench.weights.make_checkpoint import write_checkpoint
write_checkpoint(Path(sys.argv[1]), {"a": (3, 5), "b": (7,), "c": (2, 2, 2), "d": (1000,)},
                 int(sys.argv[2]) or None)
"""


def read_header(content: bytes) -> tuple[dict[str, dict[str, list[int]]], int]:
    size = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + size]), 8 + size


def test_a_header_places_tensors_one_after_another_behind_an_aligned_start() -> None:
    described, start = read_header(header(SHAPES))
    assert start % 8 == 0
    assert [described[name]["data_offsets"] for name in SHAPES] == [
        [0, 60],
        [60, 88],
        [88, 120],
        [120, 4120],
    ]


def test_tensors_are_dealt_to_files_in_order_and_a_large_one_is_alone() -> None:
    assert [list(shard) for shard in split(SHAPES, 100)] == [["a", "b"], ["c"], ["d"]]
    assert [list(shard) for shard in split(SHAPES, None)] == [["a", "b", "c", "d"]]


@pytest.mark.parametrize("shard_bytes", [0, 100])
def test_a_checkpoint_holds_each_tensor_once_in_files_of_the_right_size(
    tmp_path: Path, shard_bytes: int
) -> None:
    if not PYTHON.exists():
        pytest.skip("images/weights has no environment; scripts/install-images weights makes it")
    subprocess.run([PYTHON, "-c", WRITE, tmp_path, str(shard_bytes)], cwd=ROOT, check=True)
    found = []
    for path in sorted(tmp_path.glob("*.safetensors")):
        described, start = read_header(path.read_bytes())
        described.pop("__metadata__")
        found += [(path.name, name) for name in described]
        last = max(tensor["data_offsets"][1] for tensor in described.values())
        assert path.stat().st_size == start + last
        assert any(path.read_bytes()[start:])
    assert [name for _, name in found] == list(SHAPES)
    if shard_bytes:
        index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
        assert {(place, name) for name, place in index["weight_map"].items()} == set(found)
        assert index["metadata"]["total_size"] == 4120
    else:
        assert {place for place, _ in found} == {"model.safetensors"}


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        (None, None),
        ("bytes=0-9", (0, 10)),
        ("bytes=90-", (90, 100)),
        ("bytes=90-200", (90, 100)),
        ("bytes=100-", None),
        ("bytes=-5", None),
    ],
)
def test_a_range_is_what_was_asked_for_within_the_file(
    asked: str | None, given: tuple[int, int] | None
) -> None:
    assert byte_range(asked, 100) == given
