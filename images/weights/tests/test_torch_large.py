"""A state dict beyond 4 GiB: sizes and offsets of eight bytes, read by PyTorch and by another zip reader."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from plans import consume
from weights.files import SourceFile
from weights.formats.torch_state_dict import plan
from weights.manifest import Request
from weights.output import PART
from weights.tensors import Checkpoint, TensorRef

ELEMENTS = (1 << 31) + 10  # more than 31 bits count, and in bfloat16 more bytes than 32 bits count
LOAD = """
import sys, torch
state = torch.load(sys.argv[1], weights_only=True, mmap=True)
print({name: (str(tensor.dtype), tensor.numel(), tensor[-1].item()) for name, tensor in state.items()})
"""


class Zeros:
    """A reader whose file is zeros, but for the last four bytes of each tensor."""

    def parts(self, _file: SourceFile, _start: int, length: int) -> Iterator[memoryview]:
        zeros = memoryview(bytes(PART))
        for begin in range(0, length - 4, PART):
            yield zeros[: min(PART, length - 4 - begin)]
        yield memoryview(b"\x00\x00\x80\x3f")  # 1.0 in float32, and in bfloat16 as the last two bytes

    def overflowed(self, _tensor: str, _elements: int) -> None:
        raise AssertionError


@pytest.mark.timeout(300)
def test_tensors_and_offsets_beyond_four_gibibytes_are_read(tmp_path: Path):
    file = SourceFile("model.safetensors", 8 + 3 * ELEMENTS, "0" * 64)
    tensors = [
        TensorRef("gpt_neox.embed_in.weight", "BF16", (ELEMENTS,), file, 8, 2 * ELEMENTS),
        TensorRef("lm_head.weight", "BF16", (100,), file, 8 + 2 * ELEMENTS, 200),
    ]
    config = SourceFile("config.json", 2, "0" * 64)
    files = {"model.safetensors": file, "config.json": config}
    checkpoint = Checkpoint(tensors, {"model_type": "gpt_neox"}, files, lambda _name: b"{}")
    output = plan(checkpoint, Request("acme/large", "0" * 40, "torch-state-dict", "bfloat16"))[0]
    path = tmp_path / "state_dict.pt"
    with path.open("wb") as stream:
        for segment in output.segments:
            for part in segment.parts(Zeros()):
                # Holes for zeros: the file takes little room on the disk.
                if len(part) == PART:
                    stream.seek(PART, 1)
                else:
                    stream.write(part)
    assert path.stat().st_size == output.size > 1 << 32
    with zipfile.ZipFile(path) as archive:
        records = {entry.filename: entry.file_size for entry in archive.infolist()}
        assert records["archive/data/0"] == 2 * ELEMENTS
        assert archive.read("archive/data/1")[-2:] == b"\x80\x3f"
    found = consume(LOAD, path)
    path.unlink()
    assert found.strip() == str(
        {
            "gpt_neox.embed_in.weight": ("torch.bfloat16", ELEMENTS, 1.0),
            "lm_head.weight": ("torch.bfloat16", 100, 1.0),
        }
    )
