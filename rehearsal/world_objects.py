"""Objects of the rehearsed cloud's buckets: plain files, so that a workload can see a bucket as a folder.

Bytes are written outside the visible tree and renamed into it inside the transaction that writes the
object's row; nobody ever sees half an object. An object whose file somebody removed counts as deleted.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import google_crc32c

from rehearsal.world_db import Database
from rehearsal.world_errors import InvalidArgument, NotFound, PreconditionFailed

_CHUNK = 1 << 20
_MAX_NAME_BYTES = 1024
"""https://cloud.google.com/storage/docs/objects#naming"""


@dataclass(frozen=True, slots=True)
class ObjectMeta:
    """One object. `crc32c` and `md5` are base64, as Google writes them; `size` is bytes."""

    bucket: str
    name: str
    generation: int
    size: int
    crc32c: str
    md5: str
    content_type: str
    metadata: dict[str, str]
    created: str


@dataclass(frozen=True, slots=True)
class Listing:
    """Objects directly below a prefix, and the prefixes of those further down."""

    items: list[ObjectMeta]
    prefixes: list[str]


class Objects:
    """The objects of all buckets.

    Args:
        folder: The world's folder; objects lie in `buckets/<bucket>/` below it.
        database: The world's database.
        now: The world's time, RFC 3339.
    """

    def __init__(self, folder: Path, database: Database, now: Callable[[], str]) -> None:
        self._root = folder / "buckets"
        self._incoming = folder / "uploads"
        self._db = database
        self._now = now

    def put(
        self,
        bucket: str,
        name: str,
        content: bytes | Path,
        content_type: str = "application/octet-stream",
        *,
        metadata: dict[str, str] | None = None,
        if_generation_match: int | None = None,
        consume: bool = False,
    ) -> ObjectMeta:
        """Write an object.

        Args:
            bucket: Name of an existing bucket.
            name: The object's name; its parts become folders.
            content: The bytes, or a file that has them.
            content_type: Media type.
            metadata: The writer's own key-value pairs.
            if_generation_match: Write only over this generation; 0 means that there must be none.
            consume: Move the file `content` away instead of copying it (same file system only).

        Raises:
            NotFound: There is no such bucket.
            PreconditionFailed: The generation does not match.
            InvalidArgument: The name cannot be used.
        """
        path = self._path(bucket, name)
        with self._staged(content, consume) as (staged, size, crc32c, md5), self._db.write() as db:
            _require_bucket(db, bucket)
            row = db.execute(
                "SELECT generation FROM objects WHERE bucket = ? AND name = ?", (bucket, name)
            ).fetchone()
            present = int(row[0]) if row is not None and path.exists() else 0
            if if_generation_match is not None and if_generation_match != present:
                raise PreconditionFailed(
                    f"gs://{bucket}/{name}: generation is {present}, not {if_generation_match}"
                )
            created = self._now()
            generation = max(_microseconds(created), (int(row[0]) if row else 0) + 1)
            meta = ObjectMeta(
                bucket, name, generation, size, crc32c, md5, content_type, dict(metadata or {}), created
            )
            self._place(staged, path, name, size)
            db.execute("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", _row(meta))
        return meta

    def stat(self, bucket: str, name: str) -> ObjectMeta | None:
        """An object's metadata, or None."""
        path = self._path(bucket, name)
        with self._db.read() as db:
            row = db.execute("SELECT * FROM objects WHERE bucket = ? AND name = ?", (bucket, name)).fetchone()
        return _meta(row) if row is not None and path.exists() else None

    def path(self, bucket: str, name: str) -> Path:
        """The file that holds an object.

        Raises:
            NotFound: There is no such object.
        """
        if self.stat(bucket, name) is None:
            raise NotFound(f"No such object: {bucket}/{name}")
        return self._path(bucket, name)

    def open(self, bucket: str, name: str) -> BinaryIO:
        """An object's bytes, to read; an overwrite meanwhile does not change them.

        Raises:
            NotFound: There is no such object.
        """
        return self.path(bucket, name).open("rb")

    def list(self, bucket: str, prefix: str = "") -> list[ObjectMeta]:
        """The objects whose names start with `prefix`, sorted by name."""
        with self._db.read() as db:
            rows = db.execute(
                "SELECT * FROM objects WHERE bucket = ? AND substr(name, 1, length(?)) = ? ORDER BY name",
                (bucket, prefix, prefix),
            ).fetchall()
        return [meta for meta in map(_meta, rows) if self._path(bucket, meta.name).exists()]

    def listing(self, bucket: str, prefix: str = "", delimiter: str = "") -> Listing:
        """As `list`, with names that have `delimiter` after the prefix folded into prefixes."""
        items: list[ObjectMeta] = []
        prefixes: set[str] = set()
        for meta in self.list(bucket, prefix):
            head, found, _ = meta.name[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            if found:
                prefixes.add(f"{prefix}{head}{delimiter}")
            else:
                items.append(meta)
        return Listing(items, sorted(prefixes))

    def delete(self, bucket: str, name: str, *, if_generation_match: int | None = None) -> bool:
        """Remove an object; False if it was not there.

        Raises:
            PreconditionFailed: The generation does not match.
        """
        path = self._path(bucket, name)
        with self._db.write() as db:
            row = db.execute(
                "SELECT generation FROM objects WHERE bucket = ? AND name = ?", (bucket, name)
            ).fetchone()
            if row is not None and if_generation_match not in (None, int(row[0])):
                raise PreconditionFailed(f"gs://{bucket}/{name}: generation is {row[0]}")
            db.execute("DELETE FROM objects WHERE bucket = ? AND name = ?", (bucket, name))
            existed = path.exists()
            if path.is_dir():
                self._prune(path, bucket)
            else:
                path.unlink(missing_ok=True)
                self._prune(path.parent, bucket)
        return row is not None and existed

    def create_bucket(self, bucket: str) -> Path:
        """Make a bucket's folder, which is what a workload sees as its mount."""
        folder = self._root / _safe_bucket(bucket)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def remove_bucket(self, bucket: str) -> None:
        """Remove a bucket's folder with everything in it."""
        with self._db.write() as db:
            db.execute("DELETE FROM objects WHERE bucket = ?", (bucket,))
            shutil.rmtree(self._root / _safe_bucket(bucket), ignore_errors=True)

    def _path(self, bucket: str, name: str) -> Path:
        return self._root / _safe_bucket(bucket) / _safe_name(name)

    @contextmanager
    def _staged(self, content: bytes | Path, consume: bool) -> Iterator[tuple[Path, int, str, str]]:
        """The bytes in a file of our own outside the visible tree, with their size and checksums."""
        self._incoming.mkdir(exist_ok=True)
        crc: Any = google_crc32c.Checksum()  # type: ignore[no-untyped-call]
        md5, size = hashlib.md5(usedforsecurity=False), 0
        with tempfile.NamedTemporaryFile(dir=self._incoming, delete=False) as file:
            staged = Path(file.name)
            try:
                for chunk in _chunks(content):
                    crc.update(chunk)
                    md5.update(chunk)
                    size += len(chunk)
                    if not consume:
                        file.write(chunk)
                file.close()
                if consume and isinstance(content, Path):
                    content.replace(staged)
                staged.chmod(0o644)
                yield staged, size, _base64(crc.digest()), _base64(md5.digest())
            finally:
                staged.unlink(missing_ok=True)

    def _place(self, staged: Path, path: Path, name: str, size: int) -> None:
        """Rename into the visible tree; a name that ends with a slash is a folder, as gcsfuse shows it."""
        try:
            if name.endswith("/"):
                if size:
                    raise InvalidArgument(f"object '{name}': a name that ends with / must be empty here")
                path.mkdir(parents=True, exist_ok=True)
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            staged.replace(path)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise InvalidArgument(
                f"object '{name}': the rehearsed bucket keeps objects as files, "
                "and one object's name cannot be another one's folder"
            ) from error

    def _prune(self, folder: Path, bucket: str) -> None:
        """Remove folders that an object left empty, up to the bucket's own."""
        root = self._root / bucket
        while folder != root and root in folder.parents:
            try:
                folder.rmdir()
            except OSError:
                return
            folder = folder.parent


def _require_bucket(db: sqlite3.Connection, bucket: str) -> None:
    name = f"storage.googleapis.com/buckets/{bucket}"
    if db.execute("SELECT 1 FROM resources WHERE name = ?", (name,)).fetchone() is None:
        raise NotFound("The specified bucket does not exist.")


def _row(meta: ObjectMeta) -> list[object]:
    *plain, metadata, created = astuple(meta)
    return [*plain, json.dumps(metadata), created]


def _meta(row: tuple[Any, ...]) -> ObjectMeta:
    *plain, metadata, created = row
    fields = [*plain, json.loads(metadata), created]
    return ObjectMeta(*fields)


def _chunks(content: bytes | Path) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def _microseconds(created: str) -> int:
    return int(datetime.fromisoformat(created).timestamp() * 1_000_000)


def _safe_bucket(bucket: str) -> str:
    if not bucket or "/" in bucket or "\0" in bucket or bucket.startswith("."):
        raise InvalidArgument(f"Invalid bucket name: '{bucket}'")
    return bucket


def _safe_name(name: str) -> PurePosixPath:
    """The name as a path that stays below its bucket."""
    parts = name.removesuffix("/").split("/")
    plain = all(part not in ("", ".", "..") for part in parts)
    if not plain or any(ord(c) < 32 for c in name) or len(name.encode()) > _MAX_NAME_BYTES:
        raise InvalidArgument(f"Invalid object name: {name!r}")
    return PurePosixPath(*parts)
