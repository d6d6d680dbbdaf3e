"""A safetensors file in which scales follow the weights that they come from: one pass over the source."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from weights.output import Cast, Copy, Literal, Part, Reader, Segment
from weights.quantise import Quantised, encode
from weights.safetensors import BITS, Tensor, write_header
from weights.tensors import TensorRef, byte_size

# safetensors gives no room between tensors, and its readers want each to begin at a multiple of its width.
ALIGNMENT = 8


@dataclass(frozen=True)
class Scales:
    """Stands for the scales of an entry quantised before, in its order of channels."""

    of: str
    dtype: str
    count: int

    @property
    def size(self) -> int:
        """Bytes."""
        return byte_size(self.dtype, self.count)


@dataclass(frozen=True)
class Entry:
    """A tensor of the file.

    Attributes:
        name: Name in the header.
        dtype: Element type in the header, as safetensors names it.
        shape: Length of each dimension.
        content: Where its bytes come from.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    content: Segment | Quantised | Scales


@dataclass(frozen=True)
class Body:
    """The bytes of all entries, one after another."""

    entries: tuple[Entry, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(entry.content.size for entry in self.entries)

    def parts(self, reader: Reader) -> Iterator[Part]:
        """The bytes in order. Held are the scales of the matrix at hand and those put last."""
        scales: dict[str, bytes] = {}
        for entry in self.entries:
            content = entry.content
            if isinstance(content, Quantised):
                found = np.empty(content.channels, np.float32)
                yield from content.parts(reader, found)
                scales[entry.name] = encode(found, content.dtype)
            elif isinstance(content, Scales):
                yield scales.pop(content.of)
            else:
                yield from content.parts(reader)


def arrange(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Order the entries of a file, so that each is aligned and the source is read front to back.

    What fills whole units of ``ALIGNMENT`` comes first, in the order given; then, the widest types first,
    what does not, which is small or rare.
    """
    listed = list(entries)
    first = [entry for entry in listed if not _trails(entry)]
    return (*first, *sorted(filter(_trails, listed), key=lambda entry: -BITS[entry.dtype]))


def _trails(entry: Entry) -> bool:
    return entry.content.size % ALIGNMENT != 0


def safetensors_segments(entries: tuple[Entry, ...]) -> tuple[Literal, Body]:
    """Header and body of a safetensors file.

    Args:
        entries: In the order of their bytes, as ``arrange`` gives them.
    """
    header: dict[str, Tensor] = {}
    position = 0
    for entry in entries:
        end = position + entry.content.size
        header[entry.name] = Tensor(entry.dtype, entry.shape, (position, end))
        position = end
    return Literal(write_header(header, {"format": "pt"})), Body(entries)


def kept(tensor: TensorRef, dtype: str, name: str | None = None) -> Entry:
    """A tensor that is not quantised, see ``unquantised``."""
    return Entry(
        name or tensor.name,
        dtype if tensor.floating else tensor.dtype,
        tensor.shape,
        unquantised(tensor, dtype),
    )


def unquantised(tensor: TensorRef, dtype: str) -> Segment:
    """A tensor's bytes: cast if it is of a floating-point type, as they are otherwise."""
    if tensor.floating and tensor.dtype != dtype:
        return Cast(tensor, dtype)
    return Copy(tensor.file, tensor.start, tensor.length)
