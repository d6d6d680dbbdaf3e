"""A structural diff of properties that copes with unknown and secret values.

Nothing and null are the same; whether a value is secret does not count; assets count as their hash;
an unknown differs from everything, because nobody can say yet that it will be equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from providers.base.paths import Path, children, format_path, parse_path, same_step
from providers.base.values import UNKNOWN, Archive, Asset, Secret, Value, has_unknown


class Kind(Enum):
    """What happens to a property."""

    ADD = "add"
    DELETE = "delete"
    UPDATE = "update"


@dataclass(frozen=True, slots=True)
class Change:
    """One property that differs; `old` or `new` is None where there is nothing."""

    path: Path
    kind: Kind
    old: Value
    new: Value

    def touches(self, pattern: str) -> bool:
        """Whether this change is at, below or around what a property path names (`[*]`, `*` are wildcards).

        A mapping that is added, removed or replaced whole touches the pattern if either side holds a value
        there; one that becomes unknown always does.
        """
        wanted = parse_path(pattern)
        if not all(same_step(p, s) for p, s in zip(wanted, self.path, strict=False)):
            return False
        rest = wanted[len(self.path) :]
        return _holds(self.old, rest) or _holds(self.new, rest) or not rest


def diff_properties(old: Mapping[str, Value], new: Mapping[str, Value]) -> list[Change]:
    """Every difference between two sets of properties, in the order of their names."""
    return _diff_mapping((), old, new)


def touching(changes: Iterable[Change], patterns: Iterable[str]) -> list[Change]:
    """The changes that touch any of the patterns."""
    wanted = list(patterns)
    return [change for change in changes if any(change.touches(pattern) for pattern in wanted)]


def changed_paths(changes: Iterable[Change]) -> list[str]:
    """The changes' property paths as the engine writes them."""
    return [format_path(change.path) for change in changes]


def _diff(path: Path, old: Value, new: Value) -> list[Change]:
    old, new = _open(old), _open(new)
    if old is None and new is None:
        return []
    if old is None:
        return [Change(path, Kind.ADD, None, new)]
    if new is None:
        return [Change(path, Kind.DELETE, old, None)]
    if isinstance(old, dict) and isinstance(new, dict):
        return _diff_mapping(path, old, new)
    if isinstance(old, list) and isinstance(new, list):
        return _diff_list(path, old, new)
    return [] if _equal(old, new) else [Change(path, Kind.UPDATE, old, new)]


def _diff_mapping(path: Path, old: Mapping[str, Value], new: Mapping[str, Value]) -> list[Change]:
    changes: list[Change] = []
    for key in sorted(old.keys() | new.keys()):
        changes += _diff((*path, key), old.get(key), new.get(key))
    return changes


def _diff_list(path: Path, old: list[Value], new: list[Value]) -> list[Change]:
    changes: list[Change] = []
    for index in range(max(len(old), len(new))):
        before = old[index] if index < len(old) else None
        after = new[index] if index < len(new) else None
        changes += _diff((*path, index), before, after)
    return changes


def _equal(old: Value, new: Value) -> bool:
    if has_unknown(old) or has_unknown(new):
        return False
    if isinstance(old, bool) != isinstance(new, bool):
        return False  # Python holds True and 1 for equal; the engine does not.
    if isinstance(old, Asset | Archive) and type(old) is type(new) and old.hash and new.hash:
        return bool(old.hash == new.hash)
    return bool(old == new)


def _open(value: Value) -> Value:
    while isinstance(value, Secret):
        value = value.value
    return value


def _holds(value: Value, path: Path) -> bool:
    """Whether a value stands at the path, or may stand there once it is known."""
    value = _open(value)
    if value is UNKNOWN:
        return True
    if not path:
        return value is not None
    return any(same_step(path[0], step) and _holds(member, path[1:]) for step, member in children(value))
