"""Where the tensors of a checkpoint lie in its files, and what else a format may need of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

from weights.files import Source, SourceFile
from weights.preview import Range
from weights.safetensors import BITS, FLOATS, read_header

MAX_TENSORS = 100_000  # of a checkpoint: each takes some hundred bytes here; the largest models have fewer

# The arguments' names of element types, and those of the safetensors format.
CODES = {name: code for code, name in FLOATS.items()}


@dataclass(frozen=True, slots=True)
class TensorRef:
    """A tensor's bytes in a source file: contiguous, row-major, little-endian.

    Attributes:
        name: Name in the checkpoint.
        dtype: Element type, as safetensors names it: F32, F16, BF16, I64, …
        shape: Length of each dimension; empty for a scalar.
        file: File that holds it.
        start: First byte, counted from the start of the file.
        length: Bytes.
        aliases: Other names of the same bytes, as a pickle checkpoint has them for tied tensors.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: SourceFile
    start: int
    length: int
    aliases: tuple[str, ...] = ()

    @property
    def elements(self) -> int:
        """How many elements it has."""
        return prod(self.shape)

    @property
    def floating(self) -> bool:
        """Whether it is of a floating-point type, which a conversion is about; counters and masks are not."""
        return self.dtype in FLOATS


@dataclass(frozen=True)
class Checkpoint:
    """What a format plans its files from.

    Attributes:
        tensors: All tensors, file by file, in the order of their bytes.
        config: Content of config.json.
        files: Every file chosen from the source (weights, index, config, tokenizer), by name.
        small: Gives the verified content of one of them; at most 16 MiB.
        previewed: By a file's name, the ranges that were read of it without its digest being verified.
    """

    tensors: list[TensorRef]
    config: Mapping[str, Any]
    files: Mapping[str, SourceFile]
    small: Callable[[str], bytes]
    previewed: Mapping[str, list[Range]] = field(default_factory=dict)


def read_tensors(source: Source, file: SourceFile) -> list[TensorRef]:
    """Read the header of a safetensors file.

    Returns:
        Its tensors in the order of their bytes.

    Raises:
        Failure: ``unsupported``, for a malformed file.
    """
    header = read_header(source, file)
    return [
        TensorRef(
            name,
            tensor.dtype,
            tensor.shape,
            file,
            header.size + tensor.data_offsets[0],
            tensor.data_offsets[1] - tensor.data_offsets[0],
        )
        for name, tensor in header.tensors.items()
    ]


def byte_size(dtype: str, elements: int) -> int:
    """Bytes that so many elements of a safetensors type take."""
    return elements * BITS[dtype] // 8
