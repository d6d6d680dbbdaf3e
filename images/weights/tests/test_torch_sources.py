"""Checkpoints that PyTorch pickled, read without unpickling: PyTorch's own tensors, or a refusal."""

import hashlib
import json
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from plans import FolderSource, consume
from weights import strided
from weights.errors import Failure
from weights.files import SourceFile
from weights.reader import SourceReader
from weights.tensors import TensorRef
from weights.torch_file import read_torch

SAVE = Path(__file__).parent / "consumers" / "save_tensors.py"
NAMES = [
    *(f"{name}-{way}" for name in ("types", "shapes", "views", "strides") for way in ("zip", "legacy")),
    *(f"{name}-{way}" for name in ("parameters", "module", "ordered", "many") for way in ("zip", "legacy")),
    *(f"views-protocol{number}" for number in (3, 4, 5)),
]
REFUSED = {
    "nested": "entry 'model' is no tensor",
    "number": "entry 'step' is no tensor",
    "list": "no dictionary of tensors",
    "tensor": "no dictionary of tensors",
    "module": "asks for 'torch.nn.modules.linear.Linear'",
    "float8": "asks for 'torch.",
    "complex": "asks for 'torch.ComplexFloatStorage'",
    "sparse": "asks for 'torch._utils._rebuild_sparse_tensor'",
    "window": "rows that overlap",
    "device": "asks for 'torch.device'",
    "numbered": "keys are no names",
    "nothing": "no dictionary of tensors",
    "script": "TorchScript",
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> tuple[Path, dict]:
    """A folder of files by torch.save, and what PyTorch says is in them."""
    folder = tmp_path_factory.mktemp("saved")
    return folder, json.loads(consume(SAVE.read_text(), folder))


def identified(path: Path) -> tuple[FolderSource, SourceFile]:
    source = FolderSource(path.parent)
    return source, source.identify(SourceFile(path.name, 0, None))


def contents(path: Path) -> Iterator[tuple[TensorRef, str]]:
    """Every tensor of a file with the sha256 of its bytes, all read through the verifying reader."""
    source, file = identified(path)
    with ThreadPoolExecutor(2) as pool:
        reader = SourceReader(source, pool, lambda _tensor, _count: None)
        for tensor in read_torch(source, file):
            digest = hashlib.sha256()
            for part in reader.parts(tensor.file, tensor.start, tensor.length):
                digest.update(part)
            yield tensor, digest.hexdigest()
        reader.verify()
        reader.close()


@pytest.mark.parametrize("name", NAMES)
def test_every_tensor_has_the_type_shape_and_bytes_that_pytorch_says(saved, name):
    folder, said = saved
    found, same = {}, []
    for tensor, digest in contents(folder / f"{name}.bin"):
        for each in (tensor.name, *tensor.aliases):
            found[each] = [tensor.dtype, list(tensor.shape), digest]
        if tensor.aliases:
            same.append(sorted((tensor.name, *tensor.aliases)))
    assert found == said[name]["tensors"]
    assert sorted(same) == said[name]["same"]


@pytest.mark.parametrize("block", [8, 40, 200, 1000])
def test_a_tensor_made_in_many_blocks_is_the_same(saved, monkeypatch, block):
    folder, said = saved
    monkeypatch.setattr(strided, "BLOCK", block)
    monkeypatch.setattr(strided, "_PIECE", max(block // 2, 8))
    found = {tensor.name: digest for tensor, digest in contents(folder / "strides-zip.bin")}
    assert found == {name: digest for name, (_, _, digest) in said["strides-zip"]["tensors"].items()}


# TorchScript was never written in the old format.
@pytest.mark.parametrize(
    ("name", "way"),
    [*((name, "zip") for name in REFUSED), *((name, "legacy") for name in REFUSED if name != "script")],
)
def test_what_is_no_state_dict_of_plain_tensors_is_refused_by_name(saved, name, way):
    folder, _ = saved
    with pytest.raises(Failure, match=REFUSED[name]) as refused:
        read_torch(*identified(folder / f"other-{name}-{way}.bin"))
    assert refused.value.kind == "unsupported"


def rewritten(path: Path, target: Path, method: int = zipfile.ZIP_STORED, **changes: bytes | None) -> Path:
    """The archive with records changed, or left out if None is given."""
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(target, "w", method) as after:
        for entry in before.infolist():
            content = changes.pop(entry.filename.split("/", 1)[1], before.read(entry))
            if content is not None:
                after.writestr(entry.filename, content)
        for name, content in changes.items():
            after.writestr(f"{entry.filename.split('/', 1)[0]}/{name}", content)
    return target


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": zipfile.ZIP_DEFLATED}, "compressed or encrypted"),
        ({"byteorder": b"big"}, "not little-endian"),
        ({"data/0": None}, "missing or not of the size"),
        ({"data/0": b"short"}, "missing or not of the size"),
        ({"data.pkl": None}, "without one data.pkl"),
        ({"constants.pkl": b""}, "TorchScript"),
        ({"data.pkl": b""}, "malformed"),
        ({"data.pkl": b"\x80\x02}." + b"x"}, "no dictionary of tensors"),
    ],
)
def test_an_archive_that_pytorch_would_not_write_is_refused(saved, tmp_path, changes, message):
    folder, _ = saved
    with pytest.raises(Failure, match=message) as refused:
        read_torch(*identified(rewritten(folder / "types-zip.bin", tmp_path / "changed.bin", **changes)))
    assert refused.value.kind == "unsupported"


def test_an_archive_written_again_by_another_zip_library_is_the_same(saved, tmp_path):
    folder, _ = saved
    again = rewritten(folder / "types-zip.bin", tmp_path / "again.bin")
    found, wanted = ({tensor.name: digest for tensor, digest in contents(path)} for path in (
        again, folder / "types-zip.bin"))  # fmt: skip
    assert found == wanted


@pytest.mark.parametrize("way", ["zip", "legacy"])
def test_a_file_cut_anywhere_is_refused(saved, tmp_path, way):
    content = (saved[0] / f"views-{way}.bin").read_bytes()
    for length in (*range(0, len(content), max(len(content) // 50, 1)), len(content) - 1):
        (tmp_path / "cut.bin").write_bytes(content[:length])
        with pytest.raises(Failure):
            read_torch(*identified(tmp_path / "cut.bin"))


def test_wrong_bytes_are_refused_though_the_file_can_be_read(saved, tmp_path):
    path = saved[0] / "views-zip.bin"
    content = bytearray(path.read_bytes())
    source, file = identified(path)
    tensor = next(each for each in read_torch(source, file) if each.name == "whole")
    content[tensor.start] ^= 1
    path = tmp_path / path.name
    path.write_bytes(content)
    wrong = FolderSource(tmp_path)
    with ThreadPoolExecutor(2) as pool:
        reader = SourceReader(wrong, pool, lambda _tensor, _count: None)
        list(reader.parts(tensor.file, tensor.start, tensor.length))
        with pytest.raises(Failure, match="nothing of it was kept") as refused:
            reader.verify()
    assert refused.value.kind == "integrity"
