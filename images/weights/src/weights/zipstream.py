"""A zip archive of known size, written in one pass.

Entries are stored, not compressed, so every offset is known beforehand. A checksum is known only when its
entry has passed: it follows in a data descriptor, and stands in the directory at the end. Source: PKWARE's
APPNOTE.TXT 6.3.10, sections 4.3.7 to 4.3.16 and 4.5.3; the names here are its names.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from weights.output import Literal, Part, Reader, Segment

_LIMIT = 0xFFFFFFFF  # a size or offset from here on takes eight bytes, in a zip64 field
_VERSION = 45  # needed to extract: 4.5, with zip64
_FLAGS = 0x0808  # sizes and checksum follow the data; names are UTF-8
_DATE = 0x0021  # 1 January 1980, the first that a zip knows: the same input gives the same archive
_ZIP64 = 0x0001
_PADDING = 0x4246  # "FB", the extra field that PyTorch pads with

_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END64 = struct.Struct("<4sQHHIIQQQQ")
_LOCATOR = struct.Struct("<4sIQI")
_END = struct.Struct("<4sHHHHIIH")


@dataclass(frozen=True)
class Entry:
    """A file in the archive: its name, and the segments that its bytes are made of."""

    name: str
    segments: tuple[Segment, ...]

    @property
    def size(self) -> int:
        """Bytes of its content."""
        return sum(segment.size for segment in self.segments)


@dataclass(frozen=True)
class ZipArchive:
    """The archive as a segment of an output file.

    Attributes:
        entries: Its files, in order.
        alignment: Every content begins at a multiple of so many bytes, as a memory map wants it.
    """

    entries: tuple[Entry, ...]
    alignment: int

    @property
    def size(self) -> int:
        """Bytes of the whole archive."""
        offset = 0
        directory = 0
        for entry in self.entries:
            directory += len(_central_header(entry, offset, 0))
            offset += len(self._local_header(entry, offset)) + entry.size + len(_descriptor(entry, 0))
        return offset + directory + _END64.size + _LOCATOR.size + _END.size

    def parts(self, reader: Reader) -> Iterator[Part]:
        """The archive from its first to its last byte."""
        offset = 0
        directory = bytearray()
        for entry in self.entries:
            header = self._local_header(entry, offset)
            yield header
            checksum = 0
            for segment in entry.segments:
                for part in segment.parts(reader):
                    checksum = zlib.crc32(part, checksum)
                    yield part
            descriptor = _descriptor(entry, checksum)
            yield descriptor
            directory += _central_header(entry, offset, checksum)
            offset += len(header) + entry.size + len(descriptor)
        directory += _end(len(self.entries), offset, len(directory))
        yield from Literal(bytes(directory)).parts(reader)

    def _local_header(self, entry: Entry, offset: int) -> bytes:
        name = entry.name.encode()
        size = _LIMIT if _is_large(entry) else 0
        extra = struct.pack("<HHQQ", _ZIP64, 16, entry.size, entry.size) if _is_large(entry) else b""
        begin = offset + _LOCAL.size + len(name) + len(extra) + 4
        padding = -begin % self.alignment
        extra += struct.pack("<HH", _PADDING, padding) + bytes(padding)
        head = _LOCAL.pack(b"PK\x03\x04", _VERSION, _FLAGS, 0, 0, _DATE, 0, size, size, len(name), len(extra))
        return head + name + extra


def _is_large(entry: Entry) -> bool:
    return entry.size >= _LIMIT


def _descriptor(entry: Entry, checksum: int) -> bytes:
    kind = "<4sIQQ" if _is_large(entry) else "<4sIII"
    return struct.pack(kind, b"PK\x07\x08", checksum, entry.size, entry.size)


def _central_header(entry: Entry, offset: int, checksum: int) -> bytes:
    name = entry.name.encode()
    large = [entry.size] * 2 if _is_large(entry) else []
    far = [offset] if offset >= _LIMIT else []
    fields = large + far
    extra = struct.pack(f"<HH{len(fields)}Q", _ZIP64, 8 * len(fields), *fields) if fields else b""
    size = min(entry.size, _LIMIT)
    head = _CENTRAL.pack(
        b"PK\x01\x02", _VERSION, _VERSION, _FLAGS, 0, 0, _DATE, checksum, size, size, len(name), len(extra),
        0, 0, 0, 0, min(offset, _LIMIT),
    )  # fmt: skip
    return head + name + extra


def _end(count: int, offset: int, size: int) -> bytes:
    """What ends the directory of ``count`` entries and ``size`` bytes that begins at ``offset``."""
    rest = _END64.size - 12  # the record does not count its signature and this field
    end64 = _END64.pack(b"PK\x06\x06", rest, _VERSION, _VERSION, 0, 0, count, count, size, offset)
    locator = _LOCATOR.pack(b"PK\x06\x07", 0, offset + size, 1)
    few = min(count, 0xFFFF)
    end = _END.pack(b"PK\x05\x06", 0, 0, few, few, min(size, _LIMIT), min(offset, _LIMIT), 0)
    return end64 + locator + end
