"""Tensors that a file holds in another order than row by row, such as transposed ones, given row by row.

Checkpoints that were converted from TensorFlow have their matrices transposed: PyTorch saves a tensor as it
lies in memory, and notes the steps between neighbours (its strides). Such a tensor is made in blocks; for
each block the reader passes over the whole of it, so that no more than a block is in memory and nothing on a
disk.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from weights.files import CHUNK, SourceFile

BLOCK = 32 * 1024 * 1024  # bytes of a tensor made at once: larger means fewer passes, and more memory
_PIECE = 4 * 1024 * 1024  # bytes of the source that are put in their places at once

Parts = Callable[[SourceFile, int, int], Iterator[memoryview]]


@dataclass(frozen=True)
class StridedFile(SourceFile):
    """Such a tensor, as if it was a file of its own with its elements row by row.

    Its name and digests are those of the file that it is in.

    Attributes:
        base: The file that it is in.
        start: Its first byte there.
        shape: Length of each dimension, as ``simplify`` gives it.
        strides: Elements between neighbours along each dimension.
        width: Bytes of an element.
    """

    base: SourceFile = field(kw_only=True)
    start: int = field(kw_only=True)
    shape: tuple[int, ...] = field(kw_only=True)
    strides: tuple[int, ...] = field(kw_only=True)
    width: int = field(kw_only=True)


def simplify(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Leave out dimensions of length 1, and join those that are one run.

    Returns:
        Shape and strides; no more than one dimension, with stride 1, for a tensor that lies row by row.
    """
    joined: list[tuple[int, int]] = []
    for length, step in zip(shape, strides, strict=True):
        if length == 1:
            continue
        if joined and joined[-1][1] == length * step:
            joined[-1] = (joined[-1][0] * length, step)
        else:
            joined.append((length, step))
    return tuple(length for length, _ in joined), tuple(step for _, step in joined)


def span(shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """Elements from the first to the last that a tensor with no empty dimension touches."""
    return 1 + sum((length - 1) * step for length, step in zip(shape, strides, strict=True))


def nested(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether the elements of each dimension lie within a step of the next larger one.

    Permuting and slicing leave them so; a sliding window does not.
    """
    inner = 0
    for step, length in sorted(zip(strides, shape, strict=True)):
        if 0 < step <= inner:
            return False
        inner += (length - 1) * step
    return True


class Gatherer:
    """Gives the bytes of strided files, in order, at most a chunk at a time; keeps the last block.

    Args:
        parts: Gives the bytes of other files: file, first byte, how many.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._kept: tuple[StridedFile, int, bytearray] | None = None

    def parts(self, file: StridedFile, start: int, length: int) -> Iterator[memoryview]:
        """``length`` bytes of the tensor from byte ``start``, row by row."""
        end = start + length
        while start < end:
            part = self._copy(file, start, min(end - start, CHUNK))
            start += len(part)
            yield memoryview(part)

    def close(self) -> None:
        """Keep nothing."""
        self._kept = None

    def _copy(self, file: StridedFile, start: int, limit: int) -> bytearray:
        """A copy: a view that a consumer still has would keep the whole block in memory beside the next."""
        block = _block_at(file, start)
        if self._kept is None or self._kept[:2] != (file, block.first):
            self._kept = None
            self._kept = (file, block.first, self._gather(file, block))
        begin = start - block.first
        return self._kept[2][begin : begin + limit]

    def _gather(self, file: StridedFile, block: "_Block") -> bytearray:
        content = bytearray(block.size)
        elements = np.frombuffer(content, f"<u{file.width}").reshape(block.shape)
        order = sorted(range(len(block.shape)), key=lambda axis: -block.strides[axis])
        strides = tuple(block.strides[axis] for axis in order)
        first = file.start + block.origin * file.width
        length = span(block.shape, block.strides) * file.width
        cursor = _Cursor(self._parts(file.base, first, length))
        _scatter(elements.transpose(order), strides, 0, cursor)
        return content


@dataclass(frozen=True)
class _Block:
    """A run of a tensor's bytes.

    Attributes:
        first: The first of them in the tensor.
        size: How many.
        origin: Their first element in the source, counted from the tensor's.
        shape: Length of each dimension.
        strides: Elements between neighbours in the source.
    """

    first: int
    size: int
    origin: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _block_at(file: StridedFile, position: int) -> _Block:
    """The block with byte ``position``.

    It goes along the first dimension of which some indices fit in a block; it has as many as fit.
    """
    first, size, origin = 0, file.size, 0
    shape, strides = file.shape, file.strides
    while size > BLOCK:
        unit = size // shape[0]
        group = max(1, BLOCK // unit)
        index = (position - first) // unit // group * group
        count = min(group, shape[0] - index)
        first += index * unit
        origin += index * strides[0]
        size = count * unit
        if unit > BLOCK:
            shape, strides = shape[1:], strides[1:]
        else:
            shape = (count, *shape[1:])
    return _Block(first, size, origin, shape, strides)


def _scatter(into: NDArray[Any], strides: tuple[int, ...], origin: int, cursor: "_Cursor") -> None:
    """Fill an array whose dimensions are in the order of the source, piece by piece, front to back.

    Args:
        into: The array.
        strides: Elements between neighbours in the source, none larger than the one before.
        origin: First element, counted from the cursor's start.
        cursor: Gives the source's bytes.
    """
    width = into.itemsize
    room = _PIECE // width
    if span(into.shape, strides) <= room:
        given = np.frombuffer(cursor.take(origin * width, span(into.shape, strides) * width), into.dtype)
        into[...] = as_strided(given, into.shape, tuple(step * width for step in strides), writeable=False)
        return
    inner = span(into.shape[1:], strides[1:])
    if inner > room:
        for index in range(into.shape[0]):
            _scatter(into[index], strides[1:], origin + index * strides[0], cursor)
        return
    group = 1 + (room - inner) // strides[0]
    for index in range(0, into.shape[0], group):
        _scatter(into[index : index + group], strides, origin + index * strides[0], cursor)


class _Cursor:
    """Takes runs out of bytes that pass; each begins behind the one before."""

    def __init__(self, parts: Iterator[memoryview]) -> None:
        self._parts = parts
        self._part = memoryview(b"")
        self._position = 0  # of the part at hand

    def take(self, start: int, length: int) -> bytearray:
        run = bytearray()
        while len(run) < length:
            wanted = start + len(run) - self._position
            if wanted >= len(self._part):
                self._position += len(self._part)
                self._part = next(self._parts)
                continue
            run += self._part[wanted : wanted + length - len(run)]
        return run
