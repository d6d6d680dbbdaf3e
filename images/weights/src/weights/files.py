"""Files of a source, and their digests."""

import base64
import hashlib
from dataclasses import dataclass
from typing import Protocol

import google_crc32c

from weights.beside import Beside
from weights.errors import Failure

# Cloud Storage takes resumable chunks in multiples of 256 KiB and recommends 8 MiB and more
# (cloud.google.com/storage/docs/performing-resumable-uploads).
CHUNK = 8 * 1024 * 1024
CONNECTIONS = 4  # chunks in flight from the source; with the two in hand they bound the memory
SMALL = 16 * 1024 * 1024  # bytes of the largest file that is ever held whole
_PIECE = 256 * 1024


@dataclass(frozen=True)
class SourceFile:
    """A file of a repository, a prefix or a folder.

    Attributes:
        name: Path inside the source.
        size: Bytes.
        sha256: Hex digest of its content, known beforehand if the Hub has the file in large-file storage.
        git_sha1: The hex id of its git blob, for small files of the Hub.
        crc32c: The checksum that Cloud Storage states, base64 of four big-endian bytes.
    """

    name: str
    size: int
    sha256: str | None
    git_sha1: str | None = None
    crc32c: str | None = None

    @property
    def digest(self) -> str:
        """What names its content, with the kind in front."""
        if self.sha256 is not None:
            return f"sha256:{self.sha256}"
        if self.git_sha1 is not None:
            return f"git-sha1:{self.git_sha1}"
        return f"crc32c:{self.crc32c}"


class Source(Protocol):
    """Where a checkpoint comes from."""

    @property
    def title(self) -> str:
        """What messages call it."""

    def files(self) -> list[SourceFile]:
        """All files, in no order."""

    def identify(self, file: SourceFile) -> SourceFile:
        """The file with a digest, which a source may have to read it for."""

    def read(self, file: SourceFile, start: int, length: int) -> bytearray:
        """Exactly ``length`` bytes from byte ``start``; called from several threads at once."""

    def settle(self) -> None:
        """Called when all was read: raises ``Failure`` if what was read has been replaced meanwhile."""


class Verifier:
    """Digests a file's bytes in order, in a thread, and compares with all that its source states.

    Args:
        file: The file; one without any digest passes.
    """

    def __init__(self, file: SourceFile) -> None:
        self._file = file
        self._beside = Beside("verify")
        self._crc32c = google_crc32c.Checksum() if file.crc32c is not None else None
        self._sha256 = hashlib.sha256() if file.sha256 is not None else None
        self._git = hashlib.sha1(usedforsecurity=False) if file.git_sha1 is not None else None
        if self._git is not None:
            # A git blob's id covers its length and its content (git-scm.com/book, "Git Objects").
            self._git.update(b"blob %d\0" % file.size)

    def update(self, part: bytes | bytearray | memoryview) -> None:
        """Count the next bytes, which must not change afterwards."""
        if len(part) < _PIECE:  # not worth a thread
            self._beside.wait()
            self._count(part)
        else:
            self._beside.start(self._count, part)

    def _count(self, part: bytes | bytearray | memoryview) -> None:
        for digest in (self._sha256, self._git):
            if digest is not None:
                digest.update(part)
        if self._crc32c is not None:
            update_crc32c(self._crc32c, part)

    def compare(self) -> None:
        """Compare, at the end of the file.

        Raises:
            Failure: ``integrity``.
        """
        self._beside.wait()
        if self._sha256 is not None:
            self._expect("sha256", self._sha256.hexdigest(), self._file.sha256)
        if self._git is not None:
            self._expect("git blob id", self._git.hexdigest(), self._file.git_sha1)
        if self._crc32c is not None:
            self._expect("crc32c", encode_crc32c(self._crc32c), self._file.crc32c)

    def _expect(self, kind: str, actual: str, stated: str | None) -> None:
        if actual != stated:
            raise Failure(
                "integrity",
                f"{self._file.name} has {kind} {actual}, its source states {stated}; nothing of it was kept: "
                "run again, and distrust the source if it stays so",
            )


def read_small(source: Source, file: SourceFile) -> bytearray:
    """Read a whole small file and verify it by whichever digest the source states.

    Raises:
        Failure: ``integrity``, or ``unsupported`` if it is too large to be what it is said to be.
    """
    if file.size > SMALL:
        raise Failure(
            "unsupported", f"{file.name} has {file.size} bytes; at most {SMALL} were expected of such a file"
        )
    content = source.read(file, 0, file.size)
    verifier = Verifier(file)
    verifier.update(content)
    verifier.compare()
    return content


def update_crc32c(checksum: google_crc32c.Checksum, part: bytes | bytearray | memoryview) -> None:
    """Count bytes; piece by piece, since the library takes only ``bytes`` and each piece is copied for it."""
    view = memoryview(part)
    for start in range(0, len(view), _PIECE):
        checksum.update(bytes(view[start : start + _PIECE]))


def encode_crc32c(checksum: google_crc32c.Checksum) -> str:
    """As Cloud Storage states it: four bytes, big-endian, in base64."""
    return base64.b64encode(checksum.digest()).decode()
