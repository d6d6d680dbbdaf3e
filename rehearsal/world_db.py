"""The world's database: one SQLite file that several processes share.

Write-ahead logging lets readers go on while one writes; every write is one short `BEGIN IMMEDIATE`
transaction, so two processes never see half of a change.
"""

from __future__ import annotations

import fcntl
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SCHEMA_VERSION = 1
BUSY_TIMEOUT_MS = 60_000

_SCHEMA = """
CREATE TABLE resources (
    name TEXT PRIMARY KEY, kind TEXT NOT NULL, body TEXT NOT NULL,
    generation INTEGER NOT NULL, created TEXT NOT NULL, updated TEXT NOT NULL);
CREATE INDEX resources_kind ON resources (kind, name);
CREATE TABLE bindings (
    resource TEXT NOT NULL, role TEXT NOT NULL, member TEXT NOT NULL, effective REAL NOT NULL,
    PRIMARY KEY (resource, role, member));
CREATE TABLE objects (
    bucket TEXT NOT NULL, name TEXT NOT NULL, generation INTEGER NOT NULL, size INTEGER NOT NULL,
    crc32c TEXT NOT NULL, md5 TEXT NOT NULL, content_type TEXT NOT NULL, metadata TEXT NOT NULL,
    created TEXT NOT NULL, PRIMARY KEY (bucket, name));
CREATE TABLE faults (
    id INTEGER PRIMARY KEY, provider TEXT NOT NULL, operation TEXT NOT NULL, target TEXT NOT NULL,
    kind TEXT NOT NULL, nth INTEGER NOT NULL, times INTEGER NOT NULL, seconds REAL NOT NULL,
    message TEXT NOT NULL, seen INTEGER NOT NULL DEFAULT 0);
CREATE TABLE calls (
    id INTEGER PRIMARY KEY, at TEXT NOT NULL, pid INTEGER NOT NULL, provider TEXT NOT NULL,
    operation TEXT NOT NULL, target TEXT NOT NULL, outcome TEXT NOT NULL, detail TEXT NOT NULL);
CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


class Database:
    """One connection per thread to `<folder>/world.db`, made when it is first needed.

    Args:
        folder: The world's folder; it must exist.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "world.db"
        self._lock_path = folder / "world.lock"
        self._local = threading.local()

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A connection to read with; it sees every change that is already committed."""
        yield self._connection()

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A connection inside one write transaction: committed at the end, undone by an exception."""
        connection = self._connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    def close(self) -> None:
        """Close this thread's connection."""
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._open()
            self._local.connection = connection
        return connection

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_MS / 1000, isolation_level=None)
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        connection.execute("PRAGMA synchronous = NORMAL")
        if _version(connection) != SCHEMA_VERSION:
            self._create(connection)
        return connection

    def _create(self, connection: sqlite3.Connection) -> None:
        """Make the tables once: the switch to WAL is not covered by SQLite's own busy timeout."""
        with self._lock_path.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            found = _version(connection)
            if found == SCHEMA_VERSION:
                return
            if found != 0:
                raise RuntimeError(
                    f"{self._path} was written by another version (schema {found}, this one reads "
                    f"{SCHEMA_VERSION}): destroy that rehearsal with the version that made it, "
                    "or delete the folder"
                )
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
