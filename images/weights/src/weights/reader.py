"""Reads source files for the outputs made of them, and verifies each by the digest that its source states."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import MappingProxyType

import google_crc32c

from weights.errors import Failure
from weights.files import CHUNK, CONNECTIONS, Source, SourceFile, Verifier, update_crc32c
from weights.preview import Follower, Range
from weights.strided import Gatherer, StridedFile

_AGAIN = 4  # chunks fetched again that are kept


@dataclass
class _Pass:
    """How far a file has been read and verified.

    Attributes:
        file: The file.
        previewed: What a plan has read of it.
        checks: crc32c of each chunk read so far: what is read again is compared with them.
        verified: Whether all was read and its digest is the stated one.
    """

    file: SourceFile
    previewed: Iterable[Range]
    checks: list[int] = field(default_factory=list)
    verified: bool = False

    def __post_init__(self) -> None:
        self.verifier = Verifier(self.file)
        self.followers = [Follower(each) for each in self.previewed]

    @property
    def chunks(self) -> int:
        """How many chunks the file has."""
        return -(-self.file.size // CHUNK)

    def take(self, chunk: bytearray) -> None:
        """Count the next chunk."""
        self.verifier.update(chunk)
        for follower in self.followers:
            follower.update(len(self.checks) * CHUNK, chunk)
        self.checks.append(_check(chunk))

    def compare(self) -> None:
        """Compare the digest, and what the plan has read, at the end of the file."""
        self.verifier.compare()
        for follower in self.followers:
            follower.compare(self.file)
        self.verified = True


class _Ahead:
    """Chunks of a file one after another, while the pool fetches those that follow."""

    def __init__(
        self, source: Source, file: SourceFile, first: int, end: int, pool: ThreadPoolExecutor
    ) -> None:
        self.file = file
        self.next = first  # index of the chunk that ``take`` gives
        self._source = source
        self._pool = pool
        self._asked = first
        self.end = end
        self._waiting: deque[Future[bytearray]] = deque()

    def take(self) -> bytearray:
        while self._asked < min(self.end, self.next + CONNECTIONS):
            start = self._asked * CHUNK
            length = min(CHUNK, self.file.size - start)
            self._waiting.append(self._pool.submit(self._source.read, self.file, start, length))
            self._asked += 1
        self.next += 1
        return self._waiting.popleft().result()

    def close(self) -> None:
        for future in self._waiting:
            future.cancel()


class SourceReader:
    """Satisfies ``output.Reader``; used from one thread.

    A file is read front to back in chunks, each of which counts towards its digest. What has been passed
    already is fetched again if it is asked for; each chunk is then compared with its checksum of the first
    time. The last chunk is kept, since the next request often starts in it, and a few of those fetched again,
    since tensors that lie near one another are then often wanted in another order.

    Args:
        source: Where the files are.
        pool: Threads that fetch.
        overflowed: Told which tensor had how many elements that became infinite.
        previewed: By a file's name, what a plan has read of it.
    """

    def __init__(
        self,
        source: Source,
        pool: ThreadPoolExecutor,
        overflowed: Callable[[str, int], None],
        previewed: Mapping[str, Iterable[Range]] = MappingProxyType({}),
    ) -> None:
        self._source = source
        self._pool = pool
        self.overflowed = overflowed
        self._previewed = previewed
        self._passes: dict[str, _Pass] = {}
        self._open: set[str] = set()  # files given from since the last ``verify``
        self._ahead: _Ahead | None = None
        self._kept: dict[tuple[str, int], bytearray] = {}  # the oldest first
        self._gatherer = Gatherer(self.parts)

    def parts(self, file: SourceFile, start: int, length: int) -> Iterator[memoryview]:
        """``length`` bytes from byte ``start``, in order, at most a chunk at a time.

        Raises:
            Failure: ``integrity``, if the source gives other bytes than before or than it states.
        """
        if isinstance(file, StridedFile):
            yield from self._gatherer.parts(file, start, length)
            return
        if not file.size:  # there is nothing to read, and a digest to compare
            self._pass(file)
            self._open.add(file.name)
        end = start + length
        first, last = start // CHUNK, -(-end // CHUNK)
        for index in range(first, last) if length else ():
            view = memoryview(self._chunk(file, index, last))
            base = index * CHUNK
            yield view[max(start - base, 0) : min(end - base, len(view))]

    def verify(self) -> None:
        """Read to their ends all files that anything was taken from, and compare their digests.

        Raises:
            Failure: ``integrity``.
        """
        for name in sorted(self._open):
            self._finish(self._passes[name])
        self._open.clear()

    def close(self) -> None:
        """Fetch no more."""
        self._stop()
        self._kept.clear()

    def _stop(self) -> None:
        """Fetch no more of what follows in order."""
        if self._ahead is not None:
            self._ahead.close()
        self._ahead = None
        self._gatherer.close()

    def _chunk(self, file: SourceFile, index: int, last: int) -> bytearray:
        self._open.add(file.name)
        if (file.name, index) in self._kept:
            return self._kept[file.name, index]
        progress = self._pass(file)
        if index < len(progress.checks):
            return self._again(progress, index, last)
        while len(progress.checks) < index:
            self._forward(progress)
        return self._forward(progress)

    def _pass(self, file: SourceFile) -> _Pass:
        if file.name not in self._passes:
            self._passes[file.name] = _Pass(file, self._previewed.get(file.name, ()))
        return self._passes[file.name]

    def _forward(self, progress: _Pass) -> bytearray:
        """The next chunk of the first reading."""
        chunk = self._fetch(progress, len(progress.checks), progress.chunks, keep=1)
        progress.take(chunk)
        return chunk

    def _again(self, progress: _Pass, index: int, last: int) -> bytearray:
        chunk = self._fetch(progress, index, last, keep=_AGAIN)
        if _check(chunk) != progress.checks[index]:
            raise Failure(
                "integrity",
                f"{progress.file.name} was read twice and differed: it changed, or the network spoils it; "
                "run this again",
            )
        return chunk

    def _fetch(self, progress: _Pass, index: int, end: int, keep: int) -> bytearray:
        ahead = self._ahead
        if ahead is None or ahead.file != progress.file or ahead.next != index or index >= ahead.end:
            self._stop()
            ahead = self._ahead = _Ahead(self._source, progress.file, index, end, self._pool)
        while len(self._kept) >= keep:  # before the next one comes, so that there is never one more
            del self._kept[next(iter(self._kept))]
        chunk = ahead.take()
        self._kept[progress.file.name, index] = chunk
        return chunk

    def _finish(self, progress: _Pass) -> None:
        if progress.verified:
            return
        while len(progress.checks) < progress.chunks:
            self._forward(progress)
        progress.compare()


def _check(chunk: bytearray) -> int:
    checksum = google_crc32c.Checksum()
    update_crc32c(checksum, chunk)
    return int.from_bytes(checksum.digest(), "big")
