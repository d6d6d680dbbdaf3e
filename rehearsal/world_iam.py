"""Who may do what in the rehearsed cloud: bindings, roles as data, inheritance from the project."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import yaml

from rehearsal.world_db import Database

DEPLOYER = "user:rehearsal@llmstack.invalid"
"""The identity that `pulumi up` acts as: owner of every project."""

PROPAGATION = "iam.propagation_seconds"
"""Setting: how long a new binding takes before it holds."""

Bindings = list[tuple[str, str]]
"""Pairs of role and member."""

_BUCKETS = "storage.googleapis.com/buckets/"
_PROJECTS = "cloudresourcemanager.googleapis.com/projects/"
_ROLES = Path(__file__).parent / "data" / "roles.yaml"


@cache
def roles() -> dict[str, tuple[str, ...]]:
    """Permissions, as patterns, of every role that the rehearsed cloud knows."""
    data = yaml.safe_load(_ROLES.read_text())
    return {name: tuple(entry["permissions"]) for name, entry in data["roles"].items()}


def grants(role: str, permission: str) -> bool:
    """Whether a role has a permission; a role that is not known has none."""
    return any(fnmatchcase(permission, pattern) for pattern in roles().get(role, ()))


class Iam:
    """Bindings and the question whether somebody may do something.

    Args:
        database: The world's database.
        clock: The world's time.
        setting: Reads a setting of the world.
    """

    def __init__(
        self, database: Database, clock: Callable[[], datetime], setting: Callable[[str], str | None]
    ) -> None:
        self._db = database
        self._clock = clock
        self._setting = setting

    def bind(self, resource: str, role: str, member: str) -> None:
        """Add a binding; one that is there already keeps its age."""
        effective = self._clock().timestamp() + float(self._setting(PROPAGATION) or 0)
        with self._db.write() as db:
            db.execute(
                "INSERT OR IGNORE INTO bindings VALUES (?, ?, ?, ?)", (resource, role, member, effective)
            )

    def unbind(self, resource: str, role: str, member: str) -> bool:
        """Remove a binding; False if it was not there."""
        with self._db.write() as db:
            done = db.execute(
                "DELETE FROM bindings WHERE resource = ? AND role = ? AND member = ?",
                (resource, role, member),
            )
            return done.rowcount > 0

    def bindings(self, resource: str) -> Bindings:
        """The (role, member) pairs on a resource, sorted."""
        with self._db.read() as db:
            rows = db.execute(
                "SELECT role, member FROM bindings WHERE resource = ? ORDER BY role, member", (resource,)
            )
            return [(row[0], row[1]) for row in rows]

    def allows(self, member: str, permission: str, resource: str) -> bool:
        """Whether a binding on the resource or above it gives the permission to the member."""
        if member == DEPLOYER:
            return grants("roles/owner", permission)
        members = {member, "allUsers"}
        if member != "allUsers":
            members.add("allAuthenticatedUsers")
        return any(
            holder in members and grants(role, permission)
            for each in self._lineage(resource)
            for role, holder in self._effective(each)
        )

    def _effective(self, resource: str) -> Bindings:
        with self._db.read() as db:
            rows = db.execute(
                "SELECT role, member FROM bindings WHERE resource = ? AND effective <= ?",
                (resource, self._clock().timestamp()),
            )
            return [(row[0], row[1]) for row in rows]

    def _lineage(self, resource: str) -> Iterator[str]:
        """The resource, what it lies in, and last its project."""
        service, *parts = resource.split("/")
        for end in range(len(parts), 2, -2):
            yield "/".join([service, *parts[:end]])
        if resource.startswith(_BUCKETS):
            bucket = "/".join([service, *parts[:2]])
            yield bucket
            yield from self._bucket_project(bucket)
        elif len(parts) >= 2 and parts[0] == "projects":
            yield f"{_PROJECTS}{parts[1]}"

    def _bucket_project(self, bucket: str) -> list[str]:
        """A bucket's name does not tell its project: its record has the project's number."""
        with self._db.read() as db:
            rows = db.execute(
                "SELECT project.name FROM resources project JOIN resources bucket ON bucket.name = ? "
                "WHERE project.kind = 'project' AND json_extract(project.body, '$.number') "
                "= json_extract(bucket.body, '$.projectNumber')",
                (bucket,),
            )
            return [row[0] for row in rows]
