"""The rehearsed cloud's memory: resources, bindings, objects, secrets, faults, calls, settings, clock.

A world is a folder. Every process of a rehearsal — stand-in plugins, the cloud process, the command
line — opens the same one. It stores and answers; what Google would refuse is decided by the stand-ins.

Names are Google's full resource names without scheme, for instance
`run.googleapis.com/projects/P/locations/L/services/S`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rehearsal.world_db import Database
from rehearsal.world_errors import (
    AlreadyExists,
    InjectedFault,
    InvalidArgument,
    NotFound,
    PreconditionFailed,
    WorldError,
)
from rehearsal.world_faults import Call, Calls, Fault, Faults
from rehearsal.world_iam import DEPLOYER, Bindings, Iam
from rehearsal.world_objects import Listing, ObjectMeta, Objects
from rehearsal.world_secrets import Secrets

__all__ = [
    "DEPLOYER",
    "AlreadyExists",
    "Call",
    "Fault",
    "InjectedFault",
    "InvalidArgument",
    "Listing",
    "NotFound",
    "ObjectMeta",
    "PreconditionFailed",
    "Record",
    "World",
    "WorldError",
]

_CLOCK_OFFSET = "clock.offset_seconds"


@dataclass(frozen=True, slots=True)
class Record:
    """One resource. `body` has the shape of Google's REST API; times are RFC 3339."""

    name: str
    kind: str
    body: dict[str, Any]
    generation: int
    created: str
    updated: str


class World:
    """The world in a folder.

    Args:
        folder: An existing folder; database and trees inside are made when first used.

    Raises:
        FileNotFoundError: There is no such folder.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise FileNotFoundError(f"no rehearsed cloud at {folder}: the folder does not exist")
        self.folder = folder
        self._db = Database(folder)
        self.objects = Objects(folder, self._db, self.now)
        self.secrets = Secrets(folder)
        self.faults = Faults(self._db, self.now)
        self._iam = Iam(self._db, self._clock, self.setting)

    # Resources -----------------------------------------------------------------------------------

    def get(self, name: str) -> Record | None:
        """The record of that name, or None."""
        with self._db.read() as db:
            row = db.execute("SELECT * FROM resources WHERE name = ?", (name,)).fetchone()
        return None if row is None else _record(row)

    def insert(self, kind: str, name: str, body: dict[str, Any]) -> Record:
        """Add a record.

        Raises:
            AlreadyExists: There is one of that name; nothing is ever adopted.
        """
        now = self.now()
        with self._db.write() as db:
            if db.execute("SELECT 1 FROM resources WHERE name = ?", (name,)).fetchone():
                raise AlreadyExists(f"Resource '{name}' already exists.")
            db.execute(
                "INSERT INTO resources VALUES (?, ?, ?, 1, ?, ?)", (name, kind, json.dumps(body), now, now)
            )
        return Record(name, kind, body, 1, now, now)

    def put(self, name: str, body: dict[str, Any]) -> Record:
        """Replace a record's body; its generation grows by one.

        Raises:
            NotFound: There is no such record.
        """
        return self.edit(name, lambda _: body)

    def edit(self, name: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Record:
        """Replace a record's body by what `change` makes of it, in one transaction.

        Args:
            name: The record.
            change: Gets the present body and returns the new one. Keep it short: it holds the write lock.

        Raises:
            NotFound: There is no such record.
        """
        now = self.now()
        with self._db.write() as db:
            row = db.execute("SELECT * FROM resources WHERE name = ?", (name,)).fetchone()
            if row is None:
                raise NotFound(f"Resource '{name}' was not found.")
            old = _record(row)
            body = change(old.body)
            db.execute(
                "UPDATE resources SET body = ?, generation = ?, updated = ? WHERE name = ?",
                (json.dumps(body), old.generation + 1, now, name),
            )
        return Record(name, old.kind, body, old.generation + 1, old.created, now)

    def delete(self, name: str) -> bool:
        """Remove a record with what lies below it, their bindings and payloads; False if it was not there."""
        # "0" follows "/" in ASCII: a range finds the children, and needs no escaping as LIKE would.
        below = (name, f"{name}/", f"{name}0")
        with self._db.write() as db:
            rows = db.execute(
                "DELETE FROM resources WHERE name = ? OR (name >= ? AND name < ?) RETURNING name", below
            ).fetchall()
            gone = [str(row[0]) for row in rows]
            db.executemany("DELETE FROM bindings WHERE resource = ?", [(each,) for each in gone])
        for each in gone:
            self.secrets.delete(each)
        return name in gone

    def list(self, kind: str | None = None, prefix: str = "") -> list[Record]:
        """The records of a kind (None: any) whose names start with `prefix`, sorted by name."""
        with self._db.read() as db:
            rows = db.execute(
                "SELECT * FROM resources WHERE (? IS NULL OR kind = ?) "
                "AND substr(name, 1, length(?)) = ? ORDER BY name",
                (kind, kind, prefix, prefix),
            ).fetchall()
        return [_record(row) for row in rows]

    def ensure_project(self, project: str) -> Record:
        """The project's record, made with a number computed from its id when it is not there yet."""
        name = project_name(project)
        found = self.get(name)
        if found is not None:
            return found
        number = 10**11 + int(hashlib.sha256(project.encode()).hexdigest()[:10], 16) % (9 * 10**11)
        try:
            return self.insert("project", name, {"projectId": project, "number": str(number)})
        except AlreadyExists:
            return self.ensure_project(project)

    # IAM -----------------------------------------------------------------------------------------

    def bind(self, resource: str, role: str, member: str) -> None:
        """Give `member` a role on a resource; it holds after the setting `iam.propagation_seconds`."""
        self._iam.bind(resource, role, member)

    def unbind(self, resource: str, role: str, member: str) -> bool:
        """Take it back; False if it was not given."""
        return self._iam.unbind(resource, role, member)

    def bindings(self, resource: str) -> Bindings:
        """The (role, member) pairs given on this resource itself, sorted."""
        return self._iam.bindings(resource)

    def allows(self, member: str, permission: str, resource: str) -> bool:
        """Whether a member has a permission on a resource, given there or on what it lies in.

        Args:
            member: `user:…`, `serviceAccount:EMAIL` or `allUsers`.
            permission: For instance `storage.objects.get`.
            resource: A full resource name.
        """
        return self._iam.allows(member, permission, resource)

    # Settings, clock, calls -----------------------------------------------------------------------

    def setting(self, key: str) -> str | None:
        """A setting's value, or None."""
        with self._db.read() as db:
            row = db.execute("SELECT value FROM settings WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def set_setting(self, key: str, value: str) -> None:
        """Write a setting."""
        with self._db.write() as db:
            db.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (key, value))

    def now(self) -> str:
        """The world's time, RFC 3339 in UTC with microseconds."""
        return self._clock().strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def advance(self, seconds: float) -> None:
        """Put the world's clock forward."""
        self.set_setting(_CLOCK_OFFSET, str(self._offset() + seconds))

    def call(self, provider: str, operation: str, target: str) -> AbstractContextManager[None]:
        """Record one call to the cloud and apply the faults injected for it.

        Blocking (a slow fault sleeps): call it off the event loop.

        Args:
            provider: A resource's type token, or an API's name for the REST face.
            operation: `create`, `read`, `update`, `delete` or the API's method.
            target: The resource's full name.

        Raises:
            InjectedFault: On entry, when one was injected that answers instead of the cloud.
        """
        return self.faults.call(provider, operation, target)

    def calls(self) -> Calls:
        """Every call so far, oldest first."""
        return self.faults.calls()

    def close(self) -> None:
        """Close this thread's connection to the database."""
        self._db.close()

    def _offset(self) -> float:
        return float(self.setting(_CLOCK_OFFSET) or 0)

    def _clock(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self._offset())


def _record(row: tuple[Any, ...]) -> Record:
    name, kind, body, generation, created, updated = row
    return Record(name, kind, json.loads(body), generation, created, updated)


def project_name(project: str) -> str:
    """The full resource name of a project."""
    return f"cloudresourcemanager.googleapis.com/projects/{project}"
