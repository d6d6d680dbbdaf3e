"""Check of a resource's inputs against the installed SDK's own types.

A real provider refuses a property that it does not know, one that is missing and one of the wrong type;
so does this. Unknown values pass: nobody can say yet what they will be.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, Literal, get_args, get_origin

from providers.base.paths import Path, format_path
from providers.base.values import UNKNOWN, Archive, Asset, Secret
from rehearsal.standins.sdk import hints, is_input_class, is_optional, members

_NAMES = {str: "string", int: "int", float: "number", bool: "bool", dict: "object", list: "list"}


def check_types(types: Mapping[str, Any], inputs: Mapping[str, Any]) -> list[str]:
    """Every way in which inputs differ from their types, each as `path: reason`.

    Args:
        types: Type hint of every input, by the name on the wire.
        inputs: The inputs; secrets are looked into, unknowns pass.
    """
    return [f"{format_path(path)}: {reason}" for path, reason in _check_properties(types, inputs, ())]


def _check_properties(
    types: Mapping[str, Any], inputs: Mapping[str, Any], path: Path
) -> Iterator[tuple[Path, str]]:
    for name, value in inputs.items():
        if name in types:
            yield from _check(value, types[name], (*path, name))
        elif not name.startswith("__"):  # the engine's own marks
            yield (*path, name), f"unknown property{_nearest(name, types)}"
    for name, hint in types.items():
        if inputs.get(name) is None and not is_optional(hint):
            yield (*path, name), "required property is missing"


def _nearest(name: str, types: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, types, n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def _check(value: Any, hint: Any, path: Path) -> Iterator[tuple[Path, str]]:
    while isinstance(value, Secret):
        value = value.value
    if value is None or value is UNKNOWN:
        return  # absence is the holder's matter
    allowed = [member for member in members(hint) if member is not type(None)]
    if Any in allowed:
        return
    attempts = [list(_check_one(value, member, path)) for member in allowed]
    if all(attempts):
        # Of several types, the one whose failures lie deepest is the one that was meant.
        deepest = max(attempts, key=lambda failures: max(len(where) for where, _ in failures))
        if len(deepest) == 1 and deepest[0][0] == path and len(allowed) > 1:
            yield path, f"expected {' or '.join(map(_describe, allowed))}, got {_kind(value)}"
        else:
            yield from deepest


def _check_one(value: Any, hint: Any, path: Path) -> Iterator[tuple[Path, str]]:
    origin = get_origin(hint)
    if is_input_class(hint) and isinstance(value, dict):
        yield from _check_properties(hints(hint), value, path)
    elif _is_sequence(origin) and isinstance(value, list):
        for index, item in enumerate(value):
            yield from _check_item(item, get_args(hint)[0], (*path, index))
    elif _is_mapping(origin) and isinstance(value, dict):
        for key, item in value.items():
            yield from _check_item(item, get_args(hint)[1], (*path, key))
    elif (allowed := _constants(hint)) is not None:
        if value not in allowed:
            yield path, f"expected one of {', '.join(map(str, allowed))}, got {value!r}"
    elif not _is_a(value, hint):
        yield path, f"expected {_describe(hint)}, got {_kind(value)}"


def _check_item(item: Any, hint: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if item is None and not is_optional(hint):
        yield path, f"expected {_describe(members(hint)[0])}, got null"
    else:
        yield from _check(item, hint, path)


def _is_a(value: Any, hint: Any) -> bool:
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (str, bool):
        return isinstance(value, hint)
    return isinstance(value, Asset | Archive) and _describe(hint) in ("Asset", "Archive")


def _constants(hint: Any) -> list[Any] | None:
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return [member.value for member in hint]
    return None


def _is_sequence(origin: Any) -> bool:
    return isinstance(origin, type) and issubclass(origin, Sequence)


def _is_mapping(origin: Any) -> bool:
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _describe(hint: Any) -> str:
    if hint in _NAMES:
        return _NAMES[hint]
    origin = get_origin(hint)
    if _is_sequence(origin):
        return "list"
    if is_input_class(hint) or _is_mapping(origin):
        return "object"
    return getattr(hint, "__name__", str(hint))


def _kind(value: Any) -> str:
    return _NAMES.get(type(value), type(value).__name__)
