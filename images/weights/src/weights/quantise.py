"""Weights in eight bits: symmetric, one scale for each row or for each column of a matrix.

``value ≈ integer * scale`` with integers from -127 to 127 and ``scale = largest magnitude / 127``, rounded up
in the scale's type, so that the largest value needs no clipping. Tolerance, with the scale as it is stored:
``|integer * scale - value| <= scale / 2``, and 127 / 2**23 of a scale for the division, which is in float32.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weights.casts import cast_part
from weights.errors import Failure
from weights.output import Part, Reader, whole
from weights.tensors import TensorRef, byte_size

Floats = NDArray[np.float32]

LEVELS = np.float32(127)

SOURCES = ("F32", "F16", "BF16")  # element types that can be quantised

# Bytes of the source converted at once, so that the float32 copies stay near the processor. A row of up to
# this size is held whole; a tensor with longer rows is read twice, first for its scales.
BLOCK = 512 * 1024

# The smallest scale of each type: below it float16 has no number, the others only subnormal ones.
_SMALLEST = {"F32": 2.0**-126, "BF16": 2.0**-126, "F16": 2.0**-24}

# The scale that is the inverse of a smaller number is beyond float32.
_SMALLEST_INVERTED = LEVELS / np.float32(np.finfo(np.float32).max)

_UPPER_HALF = np.uint32(0xFFFF_0000)


@dataclass(frozen=True)
class Quantised:
    """A matrix that is quantised while it passes.

    Attributes:
        tensor: F32, F16 or BF16, of two dimensions.
        dtype: Type of the scales: F32, F16 or BF16.
        by_column: One scale for each column; for each row otherwise.
        offset: Added to the integers; 128 where the reader wants unsigned ones.
        head: Rows of an attention head, if they are to be reordered by ``paired``; 0 leaves them in order.
    """

    tensor: TensorRef
    dtype: str
    by_column: bool = False
    offset: int = 0
    head: int = 0

    @property
    def size(self) -> int:
        """Bytes of the integers."""
        return self.tensor.elements

    @property
    def channels(self) -> int:
        """How many scales there are."""
        return self.tensor.shape[1 if self.by_column else 0]

    def parts(self, reader: Reader, scales: Floats) -> Iterator[Part]:
        """The integers' bytes, row by row.

        Args:
            reader: Gives the tensor's bytes, twice where the scales depend on what comes later.
            scales: ``channels`` numbers, filled in by the time of the last part.

        Raises:
            Failure: ``unsupported``, for elements that are not finite or too large for the scales' type.
        """
        row_bytes = byte_size(self.tensor.dtype, self.tensor.shape[1])
        beforehand = self.by_column or row_bytes > BLOCK
        if beforehand:
            self._measure(reader, scales)
        for rows, columns, block in self._blocks(reader):
            if not beforehand:
                scales[rows] = self._scales(np.abs(block).max(axis=1))
            steps = scales[None, columns] if self.by_column else scales[rows, None]
            integers = np.rint(self._scaled(block, steps))
            yield (integers + self.offset).astype(np.int16).astype(np.uint8).tobytes()

    def _measure(self, reader: Reader, scales: Floats) -> None:
        largest = np.zeros(self.channels, np.float32)
        for rows, columns, block in self._blocks(reader):
            channels, axis = (columns, 0) if self.by_column else (rows, 1)
            largest[channels] = np.maximum(largest[channels], np.abs(block).max(axis=axis))
        scales[:] = self._scales(largest)

    def _blocks(self, reader: Reader) -> Iterator[tuple[slice, slice, Floats]]:
        tensor = self.tensor
        parts: Iterable[memoryview] = reader.parts(tensor.file, tensor.start, tensor.length)
        if self.head:
            parts = paired(parts, self.head, byte_size(tensor.dtype, tensor.shape[1]))
        return blocks(parts, tensor.dtype, tensor.shape[1])

    def _scales(self, largest: Floats) -> Floats:
        scales = round_up(np.maximum(largest / LEVELS, np.float32(_SMALLEST[self.dtype])), self.dtype)
        self._expect_finite(scales)
        return scales

    def _scaled(self, block: Floats, steps: Floats) -> Floats:
        return block / steps

    def _expect_finite(self, values: Floats) -> None:
        if not np.isfinite(values).all():
            raise Failure(
                "unsupported",
                f"tensor {self.tensor.name!r} holds infinities, NaN or numbers too large for scales of type "
                f"{self.dtype}: it cannot be quantised; use the format safetensors",
            )


@dataclass(frozen=True)
class Multiplied(Quantised):
    """The same with the inverse as the scale, ``127 / largest magnitude``: ``integer ≈ value * scale``.

    It is not rounded beyond float32, and a row of zeros has scale 1. Source: ``LayerSpec._quantize`` in
    github.com/OpenNMT/CTranslate2, python/ctranslate2/specs/model_spec.py, 4.8.5.
    """

    def _scales(self, largest: Floats) -> Floats:
        self._expect_finite(largest)
        nonzero = np.where(largest == 0, LEVELS, largest)
        scales: Floats = np.divide(LEVELS, np.maximum(nonzero, _SMALLEST_INVERTED), dtype=np.float32)
        return scales

    def _scaled(self, block: Floats, steps: Floats) -> Floats:
        return block * steps


def blocks(parts: Iterable[memoryview], dtype: str, columns: int) -> Iterator[tuple[slice, slice, Floats]]:
    """Cut a matrix into blocks of about ``BLOCK`` bytes: whole rows, or pieces of one row if rows are longer.

    Args:
        parts: The matrix's bytes in order, cut anywhere.
        dtype: F32, F16 or BF16.
        columns: Elements of a row; at least one.

    Returns:
        Rows, columns and elements of each block.
    """
    width = byte_size(dtype, 1)
    row_bytes = columns * width
    if row_bytes > BLOCK:
        yield from _pieces(parts, dtype, columns)
        return
    step = BLOCK // row_bytes * row_bytes
    first = 0
    for part in whole(parts, row_bytes):
        for begin in range(0, len(part), step):
            block = _floats(part[begin : begin + step], dtype).reshape(-1, columns)
            yield slice(first, first + len(block)), slice(0, columns), block
            first += len(block)


def _pieces(parts: Iterable[memoryview], dtype: str, columns: int) -> Iterator[tuple[slice, slice, Floats]]:
    width = byte_size(dtype, 1)
    position = 0  # in elements
    for part in whole(parts, width):
        while len(part):
            row, column = divmod(position, columns)
            count = min(BLOCK // width, columns - column, len(part) // width)
            block = _floats(part[: count * width], dtype).reshape(1, -1)
            yield slice(row, row + 1), slice(column, column + count), block
            position += count
            part = part[count * width :]


def paired(parts: Iterable[memoryview], head: int, row_bytes: int) -> Iterator[memoryview]:
    """Reorder the rows of each attention head: row ``i`` of its second half follows row ``i`` of its first.

    Args:
        parts: Bytes of whole heads, cut anywhere.
        head: Rows of a head; even.
        row_bytes: Bytes of a row; a head is held whole.
    """
    for part in whole(parts, head * row_bytes):
        rows = np.frombuffer(part, np.uint8).reshape(-1, 2, head // 2, row_bytes)
        yield memoryview(np.ascontiguousarray(rows.swapaxes(1, 2)).reshape(-1).data)


def round_up(values: Floats, dtype: str) -> Floats:
    """The next number of a type that is not smaller.

    Args:
        values: Positive numbers; what is not finite stays so.
        dtype: F32, F16 or BF16.
    """
    if dtype == "BF16":
        bits = values.view(np.uint32)
        above = (bits + np.uint32(0xFFFF)) & _UPPER_HALF
        return np.where(np.isfinite(values), above.view(np.float32), values)
    if dtype == "F16":
        with np.errstate(over="ignore"):
            near = values.astype(np.float16)
        return np.where(near < values, np.nextafter(near, np.float16(np.inf)), near).astype(np.float32)
    return values


def encode(scales: Floats, dtype: str) -> bytes:
    """Scales that their type holds exactly, as its bytes."""
    return bytes(cast_part(scales.tobytes(), "F32", dtype)[0])


def _floats(part: memoryview, dtype: str) -> Floats:
    return np.frombuffer(cast_part(part, dtype, "F32")[0], "<f4")
