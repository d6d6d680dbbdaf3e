"""Reading and verifying source files, whatever is asked for and in whatever order."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tool import floats, safetensors
from weights import reader as reader_module
from weights.checkpoint import open_checkpoint
from weights.errors import Failure
from weights.files import SourceFile
from weights.output import whole
from weights.reader import SourceReader

CHUNK = 1024  # small here, so that little data has many chunks


class Memory:
    """Files in memory as a source."""

    title = "memory"

    def __init__(self, files: dict[str, bytes]) -> None:
        self.contents = dict(files)
        self.given = 0
        self._stated = {
            name: SourceFile(name, len(content), hashlib.sha256(content).hexdigest())
            for name, content in files.items()
        }

    def files(self) -> list[SourceFile]:
        return list(self._stated.values())

    def identify(self, file: SourceFile) -> SourceFile:
        return file

    def settle(self) -> None:
        pass

    def read(self, file: SourceFile, start: int, length: int) -> bytearray:
        self.given += length
        found = bytearray(self.contents[file.name][start : start + length])
        assert len(found) == length
        return found


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(reader_module, "CHUNK", CHUNK)


def read(source: Memory, ranges: list[tuple[int, int]], **options: object) -> list[bytes]:
    """What a reader gives of the only file, all verified."""
    (file,) = source.files()
    with ThreadPoolExecutor(2) as pool:
        reader = SourceReader(source, pool, lambda _tensor, _count: None, **options)
        try:
            found = [b"".join(bytes(part) for part in reader.parts(file, *each)) for each in ranges]
            reader.verify()
        finally:
            reader.close()
    return found


@given(
    size=st.integers(0, 5 * CHUNK),
    places=st.lists(st.tuples(st.integers(0, 5 * CHUNK), st.integers(0, 5 * CHUNK)), max_size=8),
)
def test_any_ranges_in_any_order_are_given_exactly(size, places):
    content = floats(2 * CHUNK)[:size]
    ranges = [(min(start, size), min(length, size - min(start, size))) for start, length in places]
    expected = [content[start : start + length] for start, length in ranges]
    assert read(Memory({"a": content}), ranges) == expected


def test_what_is_asked_for_front_to_back_is_fetched_once():
    source = Memory({"a": floats(2000)})
    read(source, [(start, 333) for start in range(0, 7600, 333)])
    assert source.given == 8000


@given(at=st.integers(0, 3 * CHUNK - 1), bit=st.integers(0, 7), start=st.integers(0, 3 * CHUNK - 1))
def test_a_flipped_bit_anywhere_is_noticed_whatever_part_was_asked_for(at, bit, start):
    content = floats(3 * CHUNK // 4)
    source = Memory({"a": content})
    spoilt = bytearray(content)
    spoilt[at] ^= 1 << bit
    source.contents["a"] = bytes(spoilt)
    with pytest.raises(Failure) as caught:
        read(source, [(start, 1)])
    assert caught.value.kind == "integrity"


def test_what_is_read_a_second_time_has_to_be_the_same():
    content = floats(CHUNK)
    source = Memory({"a": content})
    (file,) = source.files()
    with ThreadPoolExecutor(2) as pool:
        reader = SourceReader(source, pool, lambda _tensor, _count: None)
        assert b"".join(map(bytes, reader.parts(file, 0, len(content)))) == content
        reader.verify()
        source.contents["a"] = content[:5] + b"\xff" + content[6:]
        with pytest.raises(Failure, match="read twice"):
            list(reader.parts(file, 0, 10))


def test_a_header_that_was_another_when_the_plan_was_made_is_noticed():
    right = safetensors({"name.of.a": ("F32", [100], floats(100))})
    source = Memory({"model.safetensors": right, "config.json": b"{}"})
    source.contents["model.safetensors"] = right.replace(b"name.of.a", b"name.of.b")
    checkpoint = open_checkpoint(source)
    assert [tensor.name for tensor in checkpoint.tensors] == ["name.of.b"]
    source.contents["model.safetensors"] = right
    file = checkpoint.files["model.safetensors"]
    with ThreadPoolExecutor(2) as pool:
        reader = SourceReader(source, pool, lambda _tensor, _count: None, checkpoint.previewed)
        list(reader.parts(file, file.size - 4, 4))
        with pytest.raises(Failure, match=r"header of model\.safetensors differed") as caught:
            reader.verify()
    assert caught.value.kind == "integrity"


@given(
    lengths=st.lists(st.integers(0, 40), max_size=20),
    unit=st.sampled_from([1, 2, 4, 8, 12]),
)
def test_parts_cut_anywhere_are_cut_anew_into_whole_units(lengths, unit):
    total = sum(lengths) // unit * unit
    content = bytes(number % 251 for number in range(total))
    cuts = [0]
    for length in lengths:
        cuts.append(min(cuts[-1] + length, total))
    parts = [memoryview(content)[start:end] for start, end in pairwise([*cuts, total])]
    given_parts = list(whole(parts, unit))
    assert b"".join(given_parts) == content
    assert all(len(part) % unit == 0 and len(part) for part in given_parts)
