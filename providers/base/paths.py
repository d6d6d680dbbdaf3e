"""Property paths, as the engine writes them: `template.containers[0].image`, `labels["a-b"]`.

Source: `PropertyPath` in the engine's `sdk/go/common/resource/properties_path.go`.
"""

from __future__ import annotations

import re
from typing import Any, TypeAlias

Path: TypeAlias = tuple[str | int, ...]
"""Keys of mappings and indices of lists, outermost first."""

WILDCARD = "*"
"""As a key, stands for every key of a mapping or every index of a list."""

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_]+")


def format_path(path: Path) -> str:
    """The path as the engine writes it."""
    text = ""
    for segment in path:
        if isinstance(segment, int):
            text += f"[{segment}]"
        elif not _PLAIN_NAME.fullmatch(segment):
            text += '["' + segment.replace('"', '\\"') + '"]'
        else:
            text += f".{segment}" if text else segment
    return text


def parse_path(text: str) -> Path:
    """The path that a text stands for; `[*]` and `*` are the wildcard.

    Raises:
        ValueError: the text is no property path.
    """
    path: list[str | int] = []
    rest = text
    while rest:
        if rest.startswith('["'):
            key, rest = _quoted(rest, text)
            path.append(key)
        elif rest.startswith("["):
            inner, closing, rest = rest[1:].partition("]")
            if not closing or not (inner.isdecimal() or inner == WILDCARD):
                raise ValueError(f"{text!r} is no property path: [ wants an index, * or a quoted key, then ]")
            path.append(WILDCARD if inner == WILDCARD else int(inner))
        else:
            name = rest[1:] if rest.startswith(".") and path else rest
            end = min((i for i in (name.find("."), name.find("[")) if i >= 0), default=len(name))
            if end == 0:
                raise ValueError(f"{text!r} is no property path: an empty name")
            path.append(name[:end])
            rest = name[end:]
    return tuple(path)


def _quoted(rest: str, text: str) -> tuple[str, str]:
    """Key and remainder of a text that starts with a quoted key in brackets."""
    key, i = "", 2
    while i < len(rest) and rest[i] != '"':
        if rest.startswith('\\"', i):
            i += 1
        key += rest[i]
        i += 1
    if not rest.startswith('"]', i):
        raise ValueError(f'{text!r} is no property path: a quoted key ends with "]')
    return key, rest[i + 2 :]


def same_step(pattern: str | int, step: str | int) -> bool:
    """Whether one segment of a path is what one segment of a pattern asks for."""
    return pattern in (WILDCARD, step)


def children(value: Any) -> list[tuple[str | int, Any]]:
    """The direct members of a mapping or list; of anything else, none."""
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, list):
        return list(enumerate(value))
    return []
