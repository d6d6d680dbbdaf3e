"""For every refusal of the stand-in, something that falls under it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from providers.base.values import Properties
from rehearsal.standins.names import service_name
from rehearsal.world import World
from tests.unit.standin_world import (
    EMAIL,
    PROJECT,
)


@dataclass(frozen=True)
class Case:
    """One way to fall under a row: a change of accepted inputs, a spoilt world, or both."""

    row: str
    token: str
    says: str
    change: Properties = field(default_factory=dict)
    spoil: Callable[[World], None] | None = None
    unconfigured: bool = False

    @property
    def name(self) -> str:
        """For the test's name."""
        return f"{self.row}-{self.token.rpartition(':')[2]}-{self.says[:24]}"


def disabled(api: str) -> Callable[[World], None]:
    """Spoils the world: an API is off."""
    return lambda world: _forget(world, service_name(PROJECT, f"{api}.googleapis.com"))


def gone(name: str) -> Callable[[World], None]:
    """Spoils the world: a record is gone."""
    return lambda world: _forget(world, name)


def unbound(resource: str, role: str) -> Callable[[World], None]:
    """Spoils the world: the workload's account lacks a role."""
    return lambda world: _check(world.unbind(resource, role, f"serviceAccount:{EMAIL}"))


def _forget(world: World, name: str) -> None:
    _check(world.delete(name))


def _check(done: bool) -> None:
    assert done, "the case spoils nothing"
