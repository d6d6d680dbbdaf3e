"""The header of a safetensors file, read and written: eight bytes of length, then JSON.

Source: github.com/huggingface/safetensors, section Format.
"""

import json
from collections import Counter
from dataclasses import dataclass
from math import prod
from typing import Annotated, Any

import msgspec

from weights.errors import Failure
from weights.files import Source, SourceFile

# Bytes; about a hundred per tensor are usual. The library allows 100 MB, which as objects would not fit here.
MAX_HEADER = 4 * 1024 * 1024
_MAX_DIMENSIONS = 64  # the product of very many would be a very long number
MAX_ELEMENTS = 2**63 - 1  # PyTorch's strides are of 64 bits, those of an empty tensor too

# Bits of one element, by the format's name of the type.
BITS = {
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "I64": 64,
    "U64": 64,
    "F64": 64,
    "C64": 64,
}
FLOATS = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3",
    "F8_E5M2": "float8_e5m2",
}
_Whole = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Shape = Annotated[tuple[_Whole, ...], msgspec.Meta(max_length=_MAX_DIMENSIONS)]


class Tensor(msgspec.Struct, frozen=True):
    """Where a tensor lies.

    Attributes:
        dtype: Element type, as the format names it.
        shape: Length of each dimension.
        data_offsets: First byte and the byte after the last, counted from the end of the header.
    """

    dtype: str
    shape: _Shape
    data_offsets: tuple[_Whole, _Whole]


@dataclass(frozen=True)
class Header:
    """What stands before the tensors' bytes.

    Attributes:
        size: Bytes, the length field included.
        tensors: Tensor by name, in the order of their bytes.
        metadata: Free text by key.
    """

    size: int
    tensors: dict[str, Tensor]
    metadata: dict[str, str]


def read_header(source: Source, file: SourceFile) -> Header:
    """Read the header by two range requests, and check that its tensors fill the file without gap or overlap.

    Raises:
        Failure: ``unsupported``, if it is no well-formed safetensors file, or its header is too large.
    """
    if file.size < 8:
        raise _malformed(file, f"it has {file.size} bytes")
    length = int.from_bytes(source.read(file, 0, 8), "little")
    if length > min(MAX_HEADER, file.size - 8):
        raise _malformed(file, f"its header claims {length} bytes")
    try:
        tensors, metadata = _decode(bytes(source.read(file, 8, length)))
    except (ValueError, RecursionError) as error:
        raise _malformed(file, f"its header cannot be read: {error}") from None
    ordered = dict(sorted(tensors.items(), key=lambda item: item[1].data_offsets))
    _check_layout(file, ordered, file.size - 8 - length)
    return Header(8 + length, ordered, metadata)


def write_header(tensors: dict[str, Tensor], metadata: dict[str, str]) -> bytes:
    """The bytes before the tensors' own, padded with spaces so that these begin at a multiple of 8.

    Args:
        tensors: Tensor by name, in the order of their bytes.
        metadata: Free text by key; left out if there is none.
    """
    entries: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    entries |= {name: msgspec.to_builtins(tensor) for name, tensor in tensors.items()}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _decode(content: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and free text. A name given twice is refused: readers differ in which of the two they take."""
    if not content.startswith(b"{"):
        raise ValueError("it is no JSON object")
    # Not msgspec, which takes the last of two equal names without a word; and not bytes, whose encoding the
    # standard library would guess.
    entries = json.loads(content.decode(), object_pairs_hook=_object)
    metadata = msgspec.convert(entries.pop("__metadata__", {}), dict[str, str])
    for name in entries:
        name.encode()  # half of a surrogate pair, which JSON can express, is no text
    return msgspec.convert(entries, dict[str, Tensor]), metadata


def _object(pairs: list[tuple[str, Any]]) -> Any:
    """An object of the header; a tensor's at once in its small form, so that the large one is never held."""
    entries = dict(pairs)
    if len(entries) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{Counter(names).most_common(1)[0][0]!r} is in it twice")
    is_tensor = "data_offsets" in entries and not isinstance(entries["data_offsets"], Tensor)
    return msgspec.convert(entries, Tensor) if is_tensor else entries


def _check_layout(file: SourceFile, tensors: dict[str, Tensor], size: int) -> None:
    position = 0
    for name, tensor in tensors.items():
        begin, end = tensor.data_offsets
        bits = BITS.get(tensor.dtype)
        if bits is None:
            raise _malformed(file, f"tensor {name!r} has the unknown type {tensor.dtype!r}")
        if prod(length or 1 for length in tensor.shape) > MAX_ELEMENTS:
            raise _malformed(file, f"tensor {name!r} has dimensions that no tensor can have")
        if begin != position or (end - begin) * 8 != prod(tensor.shape) * bits:
            raise _malformed(file, f"the offsets of tensor {name!r} do not fit its shape or its neighbours")
        position = end
    if position != size:
        raise _malformed(file, f"its tensors take {position} bytes and it holds {size}")


def _malformed(file: SourceFile, why: str) -> Failure:
    return Failure("unsupported", f"{file.name} is no well-formed safetensors file: {why}")
