"""The header of a safetensors file: eight bytes of length, then JSON.

Source: github.com/huggingface/safetensors, section Format.
"""

from math import prod
from typing import Annotated

import msgspec

from weights.errors import Failure
from weights.files import Source, SourceFile

MAX_HEADER = (
    16 * 1024 * 1024
)  # bytes; about a hundred per tensor are usual. The library itself allows 100 MB.

# Bits of one element, by the format's name of the type.
_BITS = {
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
_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3",
    "F8_E5M2": "float8_e5m2",
}
_Whole = Annotated[int, msgspec.Meta(ge=0)]


class Tensor(msgspec.Struct, frozen=True):
    """Where a tensor lies.

    Attributes:
        dtype: Element type, as the format names it.
        shape: Length of each dimension.
        data_offsets: First byte and the byte after the last, counted from the end of the header.
    """

    dtype: str
    shape: list[_Whole]
    data_offsets: tuple[_Whole, _Whole]


def read_header(source: Source, file: SourceFile) -> dict[str, Tensor]:
    """Read the header by two range requests, and check that its tensors fill the file without gap or overlap.

    Returns:
        Tensor by name, in the order of their bytes.

    Raises:
        Failure: ``unsupported``, if it is no well-formed safetensors file.
    """
    if file.size < 8:
        raise _malformed(file, f"it has {file.size} bytes")
    length = int.from_bytes(source.read(file, 0, 8), "little")
    if length > min(MAX_HEADER, file.size - 8):
        raise _malformed(file, f"its header claims {length} bytes")
    try:
        entries = msgspec.json.decode(source.read(file, 8, length), type=dict[str, msgspec.Raw])
        entries.pop("__metadata__", None)
        tensors = {name: msgspec.json.decode(raw, type=Tensor) for name, raw in entries.items()}
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _malformed(file, f"its header cannot be read: {error}") from None
    ordered = dict(sorted(tensors.items(), key=lambda item: item[1].data_offsets))
    _check_layout(file, ordered, file.size - 8 - length)
    return ordered


def _check_layout(file: SourceFile, tensors: dict[str, Tensor], size: int) -> None:
    position = 0
    for name, tensor in tensors.items():
        begin, end = tensor.data_offsets
        bits = _BITS.get(tensor.dtype)
        if bits is None:
            raise _malformed(file, f"tensor {name!r} has the unknown type {tensor.dtype!r}")
        if begin != position or (end - begin) * 8 != prod(tensor.shape) * bits:
            raise _malformed(file, f"the offsets of tensor {name!r} do not fit its shape or its neighbours")
        position = end
    if position != size:
        raise _malformed(file, f"its tensors take {position} bytes and it holds {size}")


def float_dtypes(tensors: dict[str, Tensor]) -> set[str]:
    """Element types of the floating-point tensors; counters and masks do not make a checkpoint's dtype."""
    return {_DTYPES[tensor.dtype] for tensor in tensors.values() if tensor.dtype in _DTYPES}


def _malformed(file: SourceFile, why: str) -> Failure:
    return Failure("unsupported", f"{file.name} is no well-formed safetensors file: {why}")
