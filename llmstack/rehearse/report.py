"""What a dress rehearsal found: one document, for a person, for a program and for a pull request.

Whoever reads a report may not trust who wrote it (a pull request from a fork runs its own code), so every
field has a type and a limit, and no field is more than text.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

NAME_LIMIT = 300
LINE_LIMIT = 2_000
TEXT_LIMIT = 20_000
MANY = 5_000

Name = Annotated[str, Field(max_length=NAME_LIMIT)]
Line = Annotated[str, Field(max_length=LINE_LIMIT)]
Text = Annotated[str, Field(max_length=TEXT_LIMIT)]
Count = Annotated[int, Field(ge=0, le=10**15)]
Op = Literal["create", "update", "replace", "delete"]


class Part(BaseModel):
    """A part of a report."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


class Property(Part):
    """One property that changes."""

    path: Name
    before: Line | None
    """Its value now; None where it has none. What is secret is never shown."""
    after: Line | None
    """Its value afterwards; None where it goes."""
    replaces: bool
    """Whether this property is why the resource is replaced."""


class Change(Part):
    """What the next `up` does to one resource."""

    name: Name
    type: Name
    op: Op
    properties: Annotated[tuple[Property, ...], Field(max_length=MANY)]
    holds: Name
    """The data that is lost where it is replaced or deleted; empty where it holds none."""

    @property
    def loses_data(self) -> bool:
        """Whether data goes with it."""
        return bool(self.holds) and self.op in ("replace", "delete")


class Check(Part):
    """One thing that must hold."""

    name: Name
    passed: bool
    detail: Text


class Figure(Part):
    """One operation of the engine: how many resources it set out to treat how, and how long it took."""

    step: Name
    create: Count
    update: Count
    replace: Count
    delete: Count
    seconds: Annotated[float, Field(ge=0)]


class DeploymentFigure(Part):
    """One deployment of the plan."""

    name: Name
    topology: Name
    model: Name
    machine: Name
    need_bytes: Count
    have_bytes: Count


class Report(Part):
    """A stack's dress rehearsal."""

    version: Literal[1] = 1
    stack: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,100}$")]
    environment: Name
    project: Name
    base: Name
    """What the change is compared with, for a person."""
    containers: Literal["stubbed"] = "stubbed"
    """No container ran: services got an address, staging jobs wrote a stub in place of the model."""
    changes: Annotated[tuple[Change, ...], Field(max_length=MANY)]
    warnings: Annotated[tuple[Line, ...], Field(max_length=MANY)]
    deployments: Annotated[tuple[DeploymentFigure, ...], Field(max_length=MANY)]
    checks: Annotated[tuple[Check, ...], Field(max_length=100)]
    figures: Annotated[tuple[Figure, ...], Field(max_length=100)]

    @property
    def passed(self) -> bool:
        """Whether everything held that must hold."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    def count(self, op: Op) -> int:
        """How many resources are treated so."""
        return sum(change.op == op for change in self.changes)


def clipped(text: str, limit: int) -> str:
    """`text`, cut with an ellipsis to `limit` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
