"""Predicates for `rehearsal/data/refusals` that fit any type: patterns, choices, ranges, shapes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from providers.base.paths import Path, children, format_path, parse_path, same_step
from providers.base.values import UNKNOWN, Properties
from rehearsal.standins.model import Cloud
from rehearsal.standins.refusals import Finding, predicate


def find(inputs: Properties, patterns: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Every known value at the property paths (`[*]` and `*` are wildcards), with its own path."""
    for pattern in patterns:
        for path, value in _find(inputs, parse_path(pattern), ()):
            if value is not None and value is not UNKNOWN:
                yield format_path(path), value


def _find(value: Any, rest: Path, path: Path) -> Iterator[tuple[Path, Any]]:
    if not rest:
        yield path, value
        return
    for step, member in children(value):
        if same_step(rest[0], step):
            yield from _find(member, rest[1:], (*path, step))


def known(mapping: Any, name: str) -> Any:
    """A member of a mapping, or None where it is absent or unknown."""
    value = mapping.get(name) if isinstance(mapping, dict) else None
    return None if value is UNKNOWN else value


@predicate
def pattern(cloud: Cloud, inputs: Properties, paths: list[str], regex: str) -> Iterator[Finding]:  # noqa: ARG001
    """A text that does not match a regular expression as a whole."""
    for path, value in find(inputs, paths):
        if isinstance(value, str) and not re.fullmatch(regex, value):
            yield path, {"value": value}


@predicate
def containing(cloud: Cloud, inputs: Properties, paths: list[str], regex: str) -> Iterator[Finding]:  # noqa: ARG001
    """A text in which a regular expression is found that must not be there."""
    for path, value in find(inputs, paths):
        if isinstance(value, str) and re.search(regex, value):
            yield path, {"value": value}


@predicate
def choice(cloud: Cloud, inputs: Properties, paths: list[str], values: list[Any]) -> Iterator[Finding]:  # noqa: ARG001
    """A value that is none of those allowed."""
    for path, value in find(inputs, paths):
        if value not in values:
            yield path, {"value": value, "values": ", ".join(map(str, values))}


@predicate
def between(
    cloud: Cloud,  # noqa: ARG001
    inputs: Properties,
    paths: list[str],
    low: float = float("-inf"),
    high: float = float("inf"),
) -> Iterator[Finding]:
    """A number outside a range."""
    for path, value in find(inputs, paths):
        if isinstance(value, int | float) and not low <= value <= high:
            yield path, {"value": value, "low": low, "high": high}


@predicate
def longer(cloud: Cloud, inputs: Properties, paths: list[str], limit: int) -> Iterator[Finding]:  # noqa: ARG001
    """A text of more bytes than the limit; the text itself is not repeated, for it may be a secret."""
    for path, value in find(inputs, paths):
        if isinstance(value, str) and len(value.encode()) > limit:
            yield path, {"size": len(value.encode()), "limit": limit}


@predicate
def not_exactly_one(
    cloud: Cloud,  # noqa: ARG001
    inputs: Properties,
    paths: list[str],
    names: list[str],
    minimum: int = 1,
) -> Iterator[Finding]:
    """An object that has more than one of some members, or fewer than `minimum` of them."""
    everything = [("", inputs)] if paths == [""] else list(find(inputs, paths))
    for path, value in everything:
        if isinstance(value, dict):
            given = [name for name in names if value.get(name) is not None]
            if not minimum <= len(given) <= 1:
                yield path, {"given": " and ".join(given) or "none", "names": ", ".join(names)}


@predicate
def repeated(cloud: Cloud, inputs: Properties, paths: list[str], key: str) -> Iterator[Finding]:  # noqa: ARG001
    """A list in which two items have the same value of a member."""
    for path, items in find(inputs, paths):
        seen: set[Any] = set()
        for item in items if isinstance(items, list) else []:
            value = known(item, key)
            if value is not None and value in seen:
                yield path, {"value": value}
            seen.add(value)


@predicate
def reserved_keys(
    cloud: Cloud,  # noqa: ARG001
    inputs: Properties,
    paths: list[str],
    namespaces: list[str],
) -> Iterator[Finding]:
    """A map with a key in a namespace that is Google's own."""
    for path, labels in find(inputs, paths):
        for key in labels if isinstance(labels, dict) else ():
            namespace = key.partition("/")[0] if "/" in key else ""
            if any(namespace == own or namespace.endswith(f".{own}") for own in namespaces):
                yield path, {"key": key}


@predicate
def bad_labels(cloud: Cloud, inputs: Properties, paths: list[str]) -> Iterator[Finding]:  # noqa: ARG001
    """A label whose key or value Google's label syntax does not allow."""
    for path, labels in find(inputs, paths):
        for key, value in labels.items() if isinstance(labels, dict) else ():
            if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key):
                yield path, {"what": f"key '{key}'"}
            elif isinstance(value, str) and not re.fullmatch(r"[a-z0-9_-]{0,63}", value):
                yield path, {"what": f"value '{value}' of '{key}'"}


@predicate
def too_many(cloud: Cloud, inputs: Properties, paths: list[str], limit: int) -> Iterator[Finding]:  # noqa: ARG001
    """A list or map with more members than the limit."""
    for path, value in find(inputs, paths):
        if isinstance(value, dict | list) and len(value) > limit:
            yield path, {"count": len(value), "limit": limit}
