"""A project as Google would hold it, for the APIs that a project's preparation calls.

It lives in memory and knows no more than those APIs show. Everything that makes a preparation hard can be
set: an API that is not enabled, a permission that is missing, an account that is not known everywhere yet,
another administrator who works at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rehearsal.cloud.errors import ApiError

Json = dict[str, Any]


@dataclass
class ProjectState:
    """One project with what is in it.

    Args:
        project: its ID.
        number: its number.
    """

    project: str
    number: str
    lifecycle: str = "ACTIVE"
    billing: bool = True
    enabled: set[str] = field(default_factory=set)
    """Names of enabled APIs."""
    resources: dict[str, Json] = field(default_factory=dict)
    """Every resource by `service/name`, in its API's own representation."""
    policies: dict[str, Json] = field(default_factory=dict)
    """IAM policy of each resource that has one, with its etag."""
    operations: dict[str, int] = field(default_factory=dict)
    """How often each operation still answers that it is not done."""
    operation_polls: int = 1
    foreign_buckets: set[str] = field(default_factory=set)
    """Names of buckets that belong to somebody else."""
    denied: set[str] = field(default_factory=set)
    """Permissions that the caller lacks."""
    busy: int = 0
    """How many of the next requests are answered with 503."""
    propagation_seconds: float = 0.0
    """How long a new service account takes until access policies know it."""
    now: float = 0.0
    meanwhile: list[Callable[[ProjectState], None]] = field(default_factory=list)
    """Each runs once, between somebody's reading a policy and the next writing of one."""
    calls: list[str] = field(default_factory=list)
    """Ids of the methods called, in their order."""

    def add(self, name: str, body: Mapping[str, Any]) -> Json:
        """Puts a resource there.

        Raises:
            ApiError: one of that name is there.
        """
        if name in self.resources:
            raise ApiError("ALREADY_EXISTS", f"Requested entity already exists: {name}")
        self.resources[name] = dict(body)
        return self.resources[name]

    def get(self, name: str) -> Json:
        """A resource.

        Raises:
            ApiError: there is none.
        """
        if name not in self.resources:
            raise ApiError("NOT_FOUND", f"Requested entity was not found: {name}")
        return self.resources[name]

    def operation(self, name: str) -> Json:
        """Starts an operation whose effect is there already, but which takes some questions to end."""
        self.operations[name] = self.operation_polls
        return self.poll(name)

    def poll(self, name: str) -> Json:
        """An operation as it is asked for.

        Raises:
            ApiError: there is none.
        """
        if name not in self.operations:
            raise ApiError("NOT_FOUND", f"Operation not found: {name}")
        self.operations[name] -= 1
        if self.operations[name] >= 0:
            return {"name": name, "done": False}
        return {"name": name, "done": True, "response": {}}
