"""Hostile pickles: refused by name, nothing run, nothing large built. Files with bytes changed at random."""

import io
import json
import pickle
import tracemalloc
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pickle_programs import HOSTILE, ONE, Call, program, watched
from plans import FolderSource, consume
from weights.errors import Failure
from weights.files import SourceFile
from weights.pickles import RefusedPickleError, read_pickle
from weights.strided import StridedFile
from weights.torch_file import MAX_GROWTH, read_torch

MIB = 1024 * 1024
SAVE = """
import sys, torch
torch.manual_seed(1)
base = torch.randn(6, 5)
state = {"a": base, "b": base, "c": base[2:4], "t": base.t(), "n": torch.arange(7), "s": torch.tensor(1.0)}
for zipped in (True, False):
    torch.save(state, sys.argv[1] + ("/zip" if zipped else "/legacy"), _use_new_zipfile_serialization=zipped)
"""


class Held:
    """A file in memory as a source, which refuses to read outside of it."""

    title = "memory"

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.file = SourceFile("pytorch_model.bin", len(content), None)

    def read(self, _file: SourceFile, start: int, length: int) -> bytearray:
        assert 0 <= start <= start + length <= len(self._content)
        return bytearray(self._content[start : start + length])


def archive(pickled: bytes) -> bytes:
    """The file that PyTorch would write around a pickle, with a storage of four float32."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as opened:
        opened.writestr("archive/data.pkl", pickled)
        opened.writestr("archive/data/0", bytes(16))
    return stream.getvalue()


def test_the_smallest_state_dict_is_read():
    source = Held(archive(program(b"}" + ONE + b"s")))
    (tensor,) = read_torch(source, source.file)
    assert (tensor.name, tensor.dtype, tensor.shape, tensor.length) == ("a", "F32", (4,), 16)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_pickle_is_refused_by_name_and_not_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickled, message = HOSTILE[name]
    source = Held(archive(pickled))
    tracemalloc.start()
    try:
        with watched() as deeds, pytest.raises(Failure, match=message) as refused:
            read_torch(source, source.file)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert refused.value.kind == "unsupported"
    assert str(refused.value).startswith("pytorch_model.bin is refused: ")
    assert len(str(refused.value)) < 500
    assert deeds == []
    assert list(tmp_path.iterdir()) == []
    assert peak < 64 * MIB


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_pickle_is_refused_in_the_format_before_the_archive_too(name):
    pickled, _ = HOSTILE[name]
    start = program(b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19") + program(b"M\xe9\x03")
    system = program(b"}X\x0d\x00\x00\x00little_endian\x88s")
    source = Held(start + system + pickled + program(b"]" + b"X\x01\x00\x00\x000a") + bytes(24))
    with watched() as deeds, pytest.raises(Failure) as refused:
        read_torch(source, source.file)
    assert refused.value.kind == "unsupported"
    assert deeds == []


def test_what_is_watched_for_would_be_seen():
    with watched() as deeds:
        pickle.loads(pickle.dumps(Call(exec, "pass")))
    assert any(deed.startswith("pickle.find_class") for deed in deeds)
    assert any(deed.startswith("exec") for deed in deeds)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_pickle_or_refused(content):
    with suppress(RefusedPickleError):
        read_pickle(io.BytesIO(b"\x80\x02" + content))


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> dict[str, bytes]:
    """A file by torch.save in each format."""
    folder = tmp_path_factory.mktemp("good")
    consume(SAVE, folder)
    return {name: (folder / name).read_bytes() for name in ("zip", "legacy")}


def described(content: bytes) -> str:
    """All that the reader says of a file; each tensor has to lie in it, and to be no more than it may."""
    source = Held(content)
    tensors = read_torch(source, source.file)
    for tensor in tensors:
        file = tensor.file
        if isinstance(file, StridedFile):
            reach = (
                sum((length - 1) * step for length, step in zip(file.shape, file.strides, strict=True)) + 1
            )
            assert file.start + reach * file.width <= len(content)
        else:
            assert 0 <= tensor.start <= tensor.start + tensor.length <= len(content)
    assert sum(tensor.length for tensor in tensors) <= MAX_GROWTH * len(content)
    return json.dumps([[each.name, each.dtype, each.shape, each.start, each.aliases] for each in tensors])


changes = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6)


@pytest.mark.parametrize("way", ["zip", "legacy"])
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changed=changes, cut=st.one_of(st.just(1.0), st.floats(0, 1)))
def test_a_file_with_bytes_changed_is_read_within_its_bounds_or_refused(saved, way, changed, cut):
    content = bytearray(saved[way])
    for place, value in changed:
        content[int(place * len(content))] = value
    tracemalloc.start()
    try:
        with watched() as deeds, suppress(Failure):
            described(bytes(content[: int(cut * len(content))]))
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert deeds == []
    assert peak < 16 * MIB


@pytest.mark.parametrize("way", ["zip", "legacy"])
def test_every_single_byte_of_the_structure_can_be_wrong(saved, way):
    """Each byte outside of the tensors in turn: a refusal, or an answer within the file."""
    good = described(saved[way])
    refused = 0
    for place in range(0, len(saved[way]), 3):
        content = bytearray(saved[way])
        content[place] ^= 0xFF
        try:
            described(bytes(content))
        except Failure:
            refused += 1
    assert refused > 20
    assert described(saved[way]) == good


def test_a_folder_that_pretends_to_be_small_is_refused(tmp_path: Path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"PK\x03\x04")
    source = FolderSource(tmp_path)
    with pytest.raises(Failure, match="zip directory"):
        read_torch(source, source.files()[0])
