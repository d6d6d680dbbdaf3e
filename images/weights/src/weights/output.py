"""Files to write, described before a byte of them is read.

A format plans ``OutputFile``s. Each is a row of segments; a segment knows its size beforehand and gives its
bytes in bounded parts when they are wanted. The plan of a format is a function of a module in
``weights.formats``:

    def plan(checkpoint: Checkpoint, request: Request) -> list[OutputFile]

Rules for segments: no part is larger than ``PART``; nothing but the part at hand is held; source files are
read front to back where the format's order allows it, because a reader that is sent back fetches again what
it has passed.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from weights import __version__
from weights.casts import cast_part
from weights.files import CHUNK, SourceFile
from weights.manifest import Request
from weights.tensors import TensorRef, byte_size

PART = CHUNK  # bytes of the largest part

Part = bytes | bytearray | memoryview


class Reader(Protocol):
    """Gives the bytes of source files. Whoever ends the file has verified all that it gave by then."""

    def parts(self, file: SourceFile, start: int, length: int) -> Iterator[memoryview]:
        """``length`` bytes from byte ``start``, in order, at most ``PART`` at a time, cut anywhere."""

    def overflowed(self, tensor: str, elements: int) -> None:
        """Take note that finite elements of a tensor became infinite in its new type."""


class Segment(Protocol):
    """A run of bytes of an output file."""

    @property
    def size(self) -> int:
        """Bytes, known before anything is read."""

    def parts(self, reader: Reader, /) -> Iterator[Part]:
        """The bytes in order, at most ``PART`` at a time; may be called again after a lost upload."""


@dataclass(frozen=True)
class Literal:
    """Bytes that the plan itself holds: a header, an index, a small file; at most a few MiB in all."""

    content: bytes

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.content)

    def parts(self, _reader: Reader, /) -> Iterator[Part]:
        """The content in parts."""
        view = memoryview(self.content)
        for start in range(0, len(view), PART):
            yield view[start : start + PART]


@dataclass(frozen=True)
class Copy:
    """``length`` bytes of a source file from byte ``start``, unchanged."""

    file: SourceFile
    start: int
    length: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.length

    def parts(self, reader: Reader) -> Iterator[Part]:
        """As the reader gives them."""
        return reader.parts(self.file, self.start, self.length)


@dataclass(frozen=True)
class Cast:
    """A tensor in another floating-point type, rounded to nearest, ties to even.

    Attributes:
        tensor: F32, F16 or BF16.
        dtype: F32, F16 or BF16.
    """

    tensor: TensorRef
    dtype: str

    @property
    def size(self) -> int:
        """Bytes."""
        return byte_size(self.dtype, self.tensor.elements)

    def parts(self, reader: Reader) -> Iterator[Part]:
        """Each part of the source converted; never more than a part of the result at once."""
        tensor = self.tensor
        width = byte_size(tensor.dtype, 1)
        limit = PART * width // byte_size(self.dtype, 1) // width * width  # so that the result fits, too
        overflows = 0
        for part in whole(reader.parts(tensor.file, tensor.start, tensor.length), width):
            for begin in range(0, len(part), limit):
                result, lost = cast_part(part[begin : begin + limit], tensor.dtype, self.dtype)
                overflows += lost
                yield result
        if overflows:
            reader.overflowed(tensor.name, overflows)


def whole(parts: Iterable[memoryview], unit: int) -> Iterator[memoryview]:
    """Cut parts anew, so that each holds whole units of ``unit`` bytes (an element, a small row).

    Args:
        parts: Bytes in order; their sum is a multiple of ``unit``.
        unit: Bytes; small against ``PART``, since what is carried over is copied.
    """
    carried = b""
    for part in parts:
        if carried:
            missing = unit - len(carried)
            carried += bytes(part[:missing])
            part = part[missing:]
            if len(carried) < unit:
                continue
            yield memoryview(carried)
        rest = len(part) % unit
        carried = bytes(part[len(part) - rest :]) if rest else b""
        if len(part) > rest:
            yield part[: len(part) - rest]


@dataclass(frozen=True)
class OutputFile:
    """A file to write.

    Attributes:
        name: Path below the target.
        segments: Its bytes, in order.
        recipe: Hex sha256 over all that determines the bytes; see ``new_recipe``.
        sha256: Hex digest of the bytes, if it is known before they are made.
    """

    name: str
    segments: tuple[Segment, ...]
    recipe: str
    sha256: str | None = field(default=None)

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(segment.size for segment in self.segments)


def new_recipe(name: str, request: Request, sources: Iterable[SourceFile], *more: str) -> str:
    """Name what determines an output file: a finished file with this recipe need not be made again.

    Args:
        name: The file's.
        request: Its format and dtype count; where the source is called what does not.
        sources: Files whose content it depends on.
        more: What else it depends on, such as a format's options.

    Returns:
        A hex sha256.
    """
    text = json.dumps(
        [
            f"weights/{__version__}",
            name,
            request.format,
            request.dtype,
            sorted([file.name, file.digest] for file in sources),
            *more,
        ]
    )
    return hashlib.sha256(text.encode()).hexdigest()


def copy_file(file: SourceFile, request: Request) -> OutputFile:
    """The whole of a source file, unchanged and under its name."""
    return OutputFile(
        file.name, (Copy(file, 0, file.size),), new_recipe(file.name, request, [file]), file.sha256
    )


def literal_file(
    name: str, content: bytes, request: Request, sources: Iterable[SourceFile] = ()
) -> OutputFile:
    """A small file whose bytes are known already."""
    sha256 = hashlib.sha256(content).hexdigest()
    return OutputFile(name, (Literal(content),), new_recipe(name, request, sources, sha256), sha256)
