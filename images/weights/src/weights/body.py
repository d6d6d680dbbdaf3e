"""The bytes of an output file as a target takes them: in even parts, the last one when all is verified."""

import hashlib
from collections.abc import Iterable, Iterator

from weights.beside import Beside
from weights.output import PART, OutputFile, Part
from weights.reader import SourceReader


class Body:
    """One output file's bytes.

    Args:
        output: What to make.
        reader: Gives the source's bytes.
    """

    def __init__(self, output: OutputFile, reader: SourceReader) -> None:
        self.output = output
        self.sha256 = output.sha256
        self._reader = reader

    def parts(self) -> Iterator[Part]:
        """The bytes in parts of ``PART``, only the last one shorter; again from the start, if called again.

        The last part comes when every source file that went in has the digest that its source states: whoever
        completes a file with it never completes one with wrong bytes. By then ``sha256`` is known.

        Raises:
            Failure: ``integrity``.
        """
        digest = None if self.output.sha256 is not None else hashlib.sha256()
        hashing = Beside("digest")
        held: Part | None = None
        for part in regroup(self._segments()):
            if held is not None:
                yield held
            held = part
            if digest is not None:
                hashing.start(digest.update, part)
        hashing.wait()
        self._reader.verify()
        if digest is not None:
            self.sha256 = digest.hexdigest()
        if held is not None:
            yield held

    def _segments(self) -> Iterator[Part]:
        for segment in self.output.segments:
            given = 0
            for part in segment.parts(self._reader):
                given += len(part)
                yield part
            if given != segment.size:
                raise RuntimeError(f"a segment of {self.output.name} gave {given} of {segment.size} bytes")


def regroup(parts: Iterable[Part]) -> Iterator[Part]:
    """Join and cut parts so that all but the last have ``PART`` bytes, as a resumable upload wants them."""
    buffer = bytearray()
    for part in parts:
        view = memoryview(part)
        while len(view):
            if not buffer and len(view) == PART:
                yield view
                break
            taken = view[: PART - len(buffer)]
            buffer += taken
            view = view[len(taken) :]
            if len(buffer) == PART:
                yield buffer
                buffer = bytearray()
    if buffer:
        yield buffer
