"""The steps' common shape: look at what is there, name what differs, put it right, look again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from llmstack.bootstrap.errors import ConflictError, NotYetError
from llmstack.bootstrap.google import Google

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between what is and what should be."""

    text: str
    """What is done about it, in words: "create bucket b"."""
    apply: Callable[[], object]


@dataclass(frozen=True, slots=True)
class Found:
    """What a step saw."""

    changes: list[Change] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What a person should know and the step does not touch."""


class Step(Protocol):
    """One part of the preparation."""

    @property
    def name(self) -> str:
        """The thing that the step is about."""
        ...

    def look(self) -> Found:
        """Compares what is with what should be; changes nothing."""
        ...


def converge(google: Google, step: Step) -> Found:
    """Makes one step true, and gives what it found on the way.

    What was just made may not be visible everywhere yet, and somebody else may work on the same thing: a step
    is over when another look finds nothing to do, and is tried again for some minutes until then.

    Raises:
        BootstrapError: it cannot be made true; what was done stays, and another run goes on from there.
    """
    seen: dict[str, Change] = {}
    notes: dict[str, None] = {}

    def once() -> None:
        found = step.look()
        # What was undeleted shows its settings only then, so a later look can find more.
        seen.update({change.text: change for change in found.changes})
        notes.update(dict.fromkeys(found.notes))
        if google.read_only or not found.changes:
            return
        for change in found.changes:
            change.apply()
        left = step.look().changes
        if left:
            raise NotYetError(
                f"{step.name} is not as it was set; still to do: {left[0].text}; run this again"
            )

    google.patiently(once)
    return Found(list(seen.values()), list(notes))


@dataclass(frozen=True)
class Managed:
    """A resource with settings: made when missing, brought back when somebody changed one."""

    name: str
    wanted: Mapping[str, Any]
    """Top-level fields of the API's own representation."""
    read: Callable[[], Json | None]
    create: Callable[[], object]
    patch: Callable[[list[str]], object] | None = None
    """Sets these fields of `wanted`; None for what has no settings."""
    exact: frozenset[str] = frozenset()
    """Fields that must hold nothing beside what is wanted; the others may."""
    undelete: Callable[[], object] | None = None
    """Brings back what Google still keeps after a deletion."""
    accepted: Mapping[str, Callable[[Any], bool]] = field(default_factory=dict)
    """Fields whose value may also be another than the wanted one, and which."""
    check: Callable[[Json | None], list[str]] | None = None
    """Raises about what cannot be brought back; gives notes about what is left to a person."""

    def look(self) -> Found:
        """See `Step.look`."""
        current = self.read()
        notes = self.check(current) if self.check is not None else []
        if current is None:
            return Found([Change(f"create {self.name}", self._create)], notes)
        if self.undelete is not None and current.get("state") == "DELETED":
            return Found([Change(f"undelete {self.name}", self.undelete)], notes)
        names = [
            name for name, value in self.wanted.items() if not self._same(name, value, current.get(name))
        ]
        if not names or self.patch is None:
            return Found(notes=notes)
        shown = "; ".join(
            f"{name} from {_short(current.get(name))} to {_short(self.wanted[name])}" for name in names
        )
        return Found([Change(f"set on {self.name}: {shown}", partial(self.patch, names))], notes)

    def _create(self) -> None:
        try:
            self.create()
        except ConflictError:
            # It is there after all: made by somebody else, or by our own request that was sent twice.
            return

    def _same(self, name: str, wanted: Any, current: Any) -> bool:
        if name in self.accepted and self.accepted[name](current):
            return True
        return (
            _without_empty(wanted) == _without_empty(current)
            if name in self.exact
            else _holds(wanted, current)
        )


def _holds(wanted: Any, current: Any) -> bool:
    if isinstance(wanted, Mapping):
        inside = current if isinstance(current, Mapping) else {}
        return all(_holds(value, inside.get(key)) for key, value in wanted.items())
    # Google leaves out a field that has its type's zero value.
    return bool(wanted == current or (not wanted and not current))


def _without_empty(value: Any) -> Any:
    return {k: v for k, v in value.items() if v} if isinstance(value, Mapping) else value


def _short(value: Any) -> str:
    return "nothing" if value is None else json.dumps(value, sort_keys=True)
