"""A folder as a target: on a local disk, or of a mounted bucket.

A file is written under a temporary name in a work folder beside, from its start to its end, synced, closed
and renamed: it is there complete or not at all. The work folder holds a lock, too, and a note of each
finished file, and goes when all is complete.

A bucket mounted with gcsfuse has no appending that is not a rewriting, uploads what a killed process had
begun to write as if it were whole, and renames a file by copying it inside the store and deleting the first
one (github.com/GoogleCloudPlatform/gcsfuse, docs/semantics.md). All of the above holds there, too.
"""

import errno
import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote, unquote

import msgspec

from weights.body import Body
from weights.errors import Failure
from weights.files import CHUNK, SMALL
from weights.output import OutputFile, Part
from weights.progress import Progress

WORK = ".weights"
_LOCK, _PART, _NOTE = "lock", ".part", ".done"
_KINDS = {
    errno.ENOSPC: ("storage_full", "free space there"),
    errno.EDQUOT: ("storage_full", "raise the quota or free space there"),
    errno.EFBIG: ("storage_full", "this system limits the size of files; raise that limit"),
    errno.EACCES: ("permission", "make it writable for this user"),
    errno.EPERM: ("permission", "make it writable for this user"),
    errno.EROFS: ("permission", "it is mounted read-only; mount it writable"),
    errno.ENOTDIR: ("usage", "a part of the path is a file; choose a folder"),
}


class _Note(msgspec.Struct, frozen=True):
    """That a file is finished: what it was made of, and the sha256 of its bytes."""

    recipe: str
    sha256: str


class FolderTarget:
    """Satisfies ``target.Target``.

    Args:
        folder: Where the files go; it is made if it is not there.
        progress: Told of bytes that are written.
        patience: Seconds to wait for another run that writes there.
        pause: Waits so many seconds.
    """

    def __init__(
        self, folder: Path, progress: Progress, patience: float, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self._folder = folder
        self._work = folder / WORK
        self._progress = progress
        self._patience = patience
        self._pause = pause

    @property
    def title(self) -> str:
        """The folder's path."""
        return str(self._folder)

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the folder's lock, and remove what a killed run left half-written.

        The lock is the operating system's: it ends with its process, however that ends. It keeps runs of one
        machine apart; a bucket that several machines write to is safe under its gs:// address only. The work
        folder stays only if it notes finished files, which the next run then need not make again.

        Raises:
            Failure: ``unavailable``, if another run holds it for longer than the budget.
        """
        with _disk_errors(self._folder):
            lock = self._acquire()
        try:
            with _disk_errors(self._folder):
                self._forget(_PART)
            yield
        finally:
            self._leave(lock)

    def tidy(self) -> None:
        """Remove the notes of a killed run; one that holds the lock does so itself, and is left alone."""
        with suppress(OSError):  # there are none, or the folder is only there to be read
            lock = self._lock() if self._work.is_dir() else None
            if lock is not None:
                self._forget(_PART, _NOTE)
                self._leave(lock)

    def sizes(self) -> dict[str, int]:
        """All files except the work folder's."""
        with _disk_errors(self._folder):
            return {
                path.relative_to(self._folder).as_posix(): path.stat().st_size
                for path in self._folder.rglob("*")
                if path.is_file() and WORK not in path.relative_to(self._folder).parts
            }

    def read(self, name: str) -> bytes | None:
        """Content of a small file.

        Raises:
            Failure: ``integrity``, if it is too large to be what it is said to be.
        """
        with _disk_errors(self._folder):
            try:
                return read_small_file(self._folder / name)
            except (FileNotFoundError, NotADirectoryError):
                return None

    def remove(self, names: Iterable[str]) -> None:
        """Delete files."""
        with _disk_errors(self._folder):
            for name in names:
                (self._folder / name).unlink(missing_ok=True)
            _sync(self._folder)

    def leftovers(self, names: Collection[str]) -> list[str]:
        """By their notes; a file that is not as it was noted is somebody else's by now."""
        found = []
        with _disk_errors(self._folder):
            for path in self._work.glob(f"*{_NOTE}"):
                name = unquote(path.name.removesuffix(_NOTE))
                note = self._read_note(name)
                file = self._folder / name
                if name not in names and note and file.is_file() and file_sha256(file) == note.sha256:
                    found.append(name)
        return found

    def finished(self, output: OutputFile) -> str | None:
        """By reading it again: what was noted of a disk's content may have been overtaken."""
        note = self._read_note(output.name)
        expected = output.sha256 or (note.sha256 if note and note.recipe == output.recipe else None)
        path = self._folder / output.name
        with _disk_errors(self._folder):
            if expected is None or not path.is_file() or path.stat().st_size != output.size:
                return None
            return expected if file_sha256(path) == expected else None

    def holds(self, output: OutputFile, _sha256: str, /) -> bool:
        """By its size: the lock keeps other runs out, and reading all of it again would double the time."""
        path = self._folder / output.name
        with _disk_errors(self._folder):
            return path.is_file() and path.stat().st_size == output.size

    def write(self, body: Body) -> str:
        """Write under a temporary name, sync, rename, and note that it is finished."""
        name = body.output.name
        with _disk_errors(self._folder):
            (self._folder / name).parent.mkdir(parents=True, exist_ok=True)
            self._put(self._folder / name, self._counted(body))
            sha256 = str(body.sha256)
            note = msgspec.json.encode(_Note(body.output.recipe, sha256))
            self._put(self._work / f"{_flat(name)}{_NOTE}", [note])
        return sha256

    def publish(self, name: str, content: bytes) -> bool:
        """Write the manifest; then there is nothing more to note."""
        with _disk_errors(self._folder):
            self._put(self._folder / name, [content])
            self._forget(_NOTE)
        return True

    def _counted(self, body: Body) -> Iterator[Part]:
        """The bytes of a file, counted when they are written."""
        for part in body.parts():
            yield part
            self._progress.add(len(part))

    def _put(self, path: Path, parts: Iterable[Part]) -> None:
        """Write a file so that it is there complete or not at all, and stays there if the power fails."""
        temporary = self._work / f"{_flat(path.name)}{_PART}"
        try:
            with temporary.open("xb", buffering=0) as file:
                for part in parts:
                    _write_all(file.fileno(), memoryview(part))
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync(path.parent)

    def _acquire(self) -> int:
        """Descriptor of the locked lock file."""
        deadline = time.monotonic() + self._patience
        while True:
            self._work.mkdir(parents=True, exist_ok=True)
            try:
                lock = self._lock()
            except BlockingIOError:
                self._wait(deadline)
                continue
            if lock is not None:
                return lock

    def _lock(self) -> int | None:
        """Descriptor of the locked lock file; None if a run that ended took the file away in between.

        Raises:
            BlockingIOError: Another run holds it.
        """
        path = self._work / _LOCK
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The holder deletes the file in the end, and then a lock on it keeps nobody out any more.
            if path.exists() and os.path.samestat(os.fstat(lock), path.stat()):
                return lock
        except OSError:
            os.close(lock)
            raise
        os.close(lock)
        return None

    def _wait(self, deadline: float) -> None:
        if time.monotonic() >= deadline:
            raise Failure(
                "unavailable", f"another run writes to {self.title}; wait for its end, then run this again"
            )
        self._progress.warn(f"another run writes to {self.title}: waiting for it")
        self._pause(1.0)

    def _forget(self, *kinds: str) -> None:
        """Delete files of the work folder, by how their names end."""
        for kind in kinds:
            for path in self._work.glob(f"*{kind}"):
                path.unlink()

    def _leave(self, lock: int) -> None:
        """Give the lock back, and take the work folder away if it notes nothing."""
        with suppress(OSError):  # whatever ended the run is what has to be told
            if not any(self._work.glob(f"*{_NOTE}")):
                (self._work / _LOCK).unlink(missing_ok=True)
                self._work.rmdir()  # another run may just have come to wait there
        os.close(lock)

    def _read_note(self, name: str) -> _Note | None:
        try:
            return msgspec.json.decode((self._work / f"{_flat(name)}{_NOTE}").read_bytes(), type=_Note)
        except (OSError, msgspec.MsgspecError):  # without it the file is made again
            return None


def _flat(name: str) -> str:
    """A name for the work folder, which has no folders."""
    return quote(name, safe="")


def file_sha256(path: Path, told: Callable[[int], None] = lambda _: None) -> str:
    """Hex sha256 of a file.

    Args:
        path: The file.
        told: Told of each number of bytes read.
    """
    digest = hashlib.sha256()
    buffer = bytearray(CHUNK)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(memoryview(buffer)[:count])
            told(count)
    return digest.hexdigest()


def read_small_file(path: Path) -> bytes:
    """Content of a file that is read whole.

    Raises:
        OSError: It cannot be read.
        Failure: ``integrity``, if it is too large to be what it is said to be.
    """
    with path.open("rb") as file:
        content = file.read(SMALL + 1)
    if len(content) > SMALL:
        raise Failure("integrity", f"{path} has more than {SMALL} bytes: it is not what its name says")
    return content


def _write_all(descriptor: int, view: memoryview) -> None:
    while len(view):
        view = view[os.write(descriptor, view) :]


def _sync(folder: Path) -> None:
    """Make renames durable; a mounted bucket has no such thing as syncing a folder, and needs none."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kind, remedy = _KINDS.get(error.errno or 0, ("unavailable", "run this again"))
        raise Failure(kind, f"{folder}: {error.strerror or error}; {remedy}") from None
