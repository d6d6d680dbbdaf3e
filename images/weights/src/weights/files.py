"""Files on either side, and their bytes in order and verified."""

import hashlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from weights.errors import Failure

# Cloud Storage takes resumable chunks in multiples of 256 KiB and recommends 8 MiB and more
# (cloud.google.com/storage/docs/performing-resumable-uploads).
CHUNK = 8 * 1024 * 1024
CONNECTIONS = 4  # chunks in flight from the source; with the two in hand they bound the memory
SMALL = 16 * 1024 * 1024  # bytes of the largest file that is ever held whole


@dataclass(frozen=True)
class SourceFile:
    """A file of a repository.

    Attributes:
        name: Path inside the repository.
        size: Bytes.
        sha256: Hex digest of its content, known beforehand if the file is in large-file storage.
        git_sha1: Else the hex id of its git blob.
    """

    name: str
    size: int
    sha256: str | None
    git_sha1: str | None


class Source(Protocol):
    """Where a checkpoint comes from."""

    def files(self) -> list[SourceFile]:
        """All files, in no order."""

    def read(self, file: SourceFile, start: int, length: int) -> bytearray:
        """Exactly ``length`` bytes from byte ``start``; called from several threads at once."""


def chunks(source: Source, file: SourceFile, pool: ThreadPoolExecutor) -> Iterator[bytearray]:
    """The bytes of a file in order, ``CHUNK`` at a time, while the pool fetches those that follow."""
    waiting: deque[Future[bytearray]] = deque()
    try:
        for start in range(0, file.size, CHUNK):
            waiting.append(pool.submit(source.read, file, start, min(CHUNK, file.size - start)))
            if len(waiting) == CONNECTIONS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def verified(parts: Iterator[bytearray], file: SourceFile) -> Iterator[bytearray]:
    """Pass the parts on, the last one only when the sha256 of all of them is the one that the source states.

    So whoever completes an object with the last part never completes one with wrong bytes.

    Raises:
        Failure: ``integrity``.
    """
    digest = hashlib.sha256()
    held: bytearray | None = None
    for part in parts:
        digest.update(part)
        if held is not None:
            yield held
        held = part
    if digest.hexdigest() != file.sha256:
        raise Failure(
            "integrity",
            f"{file.name} has sha256 {digest.hexdigest()}, the Hub states {file.sha256}; nothing was kept",
        )
    if held is not None:
        yield held


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
    if file.sha256 is not None:
        stated, actual = file.sha256, hashlib.sha256(content).hexdigest()
    else:
        # A git blob's id covers its length and its content (git-scm.com/book, "Git Objects").
        stated = file.git_sha1 or "nothing"
        blob = hashlib.sha1(b"blob %d\0" % len(content), usedforsecurity=False)
        blob.update(content)
        actual = blob.hexdigest()
    if actual != stated:
        raise Failure("integrity", f"{file.name} has digest {actual}, the Hub states {stated}")
    return content
