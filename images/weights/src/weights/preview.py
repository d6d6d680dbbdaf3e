"""What a plan read of a file before all of the file was verified: its header, found by ranges.

A header with one wrong byte may still be well-formed, with another name or shape. So the checksum of each
range is kept, and compared when the file passes as a whole, whose digest then vouches for it.
"""

from dataclasses import dataclass

import google_crc32c

from weights.errors import Failure
from weights.files import Source, SourceFile, update_crc32c


@dataclass(frozen=True)
class Range:
    """Bytes read: the first one, how many, and their checksum."""

    start: int
    length: int
    crc32c: bytes


class Preview:
    """A source whose reads are noted; satisfies ``files.Source``.

    Args:
        source: Gives the bytes.

    Attributes:
        ranges: What was read, by the file's name.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.ranges: dict[str, list[Range]] = {}
        self.files = source.files
        self.identify = source.identify
        self.settle = source.settle

    @property
    def title(self) -> str:
        """The source's."""
        return self._source.title

    def read(self, file: SourceFile, start: int, length: int) -> bytearray:
        """As the source gives them."""
        content = self._source.read(file, start, length)
        checksum = google_crc32c.Checksum()
        update_crc32c(checksum, content)
        self.ranges.setdefault(file.name, []).append(Range(start, length, checksum.digest()))
        return content


class Follower:
    """Sees a file pass from its start, and compares a range of it.

    Args:
        previewed: The range.
    """

    def __init__(self, previewed: Range) -> None:
        self._range = previewed
        self._checksum = google_crc32c.Checksum()

    def update(self, position: int, chunk: bytearray) -> None:
        """Count what the chunk that begins at ``position`` has of the range."""
        begin = max(self._range.start - position, 0)
        end = min(self._range.start + self._range.length - position, len(chunk))
        if begin < end:
            update_crc32c(self._checksum, memoryview(chunk)[begin:end])

    def compare(self, file: SourceFile) -> None:
        """Compare, at the end of the file.

        Raises:
            Failure: ``integrity``.
        """
        if self._checksum.digest() != self._range.crc32c:
            raise Failure(
                "integrity",
                f"the header of {file.name} differed when it was read for the first time: the file changed, "
                "or the network spoils it; run this again",
            )
