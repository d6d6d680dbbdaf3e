"""Rules that are entries of a YAML table: each is taken away while the table is read."""

from __future__ import annotations

import functools
import gc
import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.mutation.site import Site


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a table.

    Attributes:
        site: How the check names it.
        text: The whole file's text.
        steps: Keys and indices that lead to it in the document.
    """

    site: Site
    text: str
    steps: tuple[str | int, ...]


class Omission:
    """Leaves entries out of a document when it is read; `done` says whether that happened."""

    def __init__(self, text: str, steps: list[tuple[str | int, ...]]) -> None:
        self._text = text
        self._steps = steps
        self.done = False

    def start(self) -> None:
        """Has YAML read without the entries from now on, in this process."""
        load = yaml.load
        yaml.load = lambda stream, Loader: self._without(stream, load(stream, Loader))  # noqa: N803

    def _without(self, stream: Any, document: Any) -> Any:
        if stream not in (self._text, self._text.encode()):
            return document
        self.done = True
        # From the last to the first, so that the indices of those before stay right.
        for *above, last in sorted(self._steps, key=str, reverse=True):
            holder = functools.reduce(lambda value, step: value[step], above, document)
            # An alias (`*name`) is the same list in two places: only this place loses the entry.
            kept = [value for index, value in enumerate(holder) if index != last]
            functools.reduce(lambda value, step: value[step], above[:-1], document)[above[-1]] = kept
        return document


def read_yaml_quickly() -> None:
    """Has YAML read by libyaml from now on in this process: it gives the same, and each rule reads anew."""
    load = yaml.load
    quick: dict[Any, Any] = {yaml.SafeLoader: yaml.CSafeLoader}
    yaml.load = lambda stream, Loader: load(stream, quick.get(Loader, Loader))  # noqa: N803


def entries(file: str, root: Path, below: str) -> list[Entry]:
    """Finds the entries of a table: of a list, or of every list of a mapping."""
    text = (root / file).read_text()
    document: Any = yaml.compose(text)
    (holder,) = (value for key, value in document.value if key.value == below)
    lists: list[tuple[tuple[str, ...], yaml.SequenceNode]]
    if isinstance(holder, yaml.SequenceNode):
        lists = [((below,), holder)]
    else:
        lists = [((below, key.value), value) for key, value in holder.value]
    found = []
    for above, listed in lists:
        for index, node in enumerate(listed.value):
            key = f"{file}#{'/'.join(above)}/{index}"
            line = node.start_mark.line + 1
            site = Site(key, file, line, ".".join(above), _name(node))
            found.append(Entry(site, text, (*above, index)))
    return found


def caches(packages: frozenset[str]) -> list[functools._lru_cache_wrapper[Any]]:
    """The cached functions of these packages, as far as they are imported."""
    return [
        found
        for found in gc.get_objects()
        if isinstance(found, functools._lru_cache_wrapper) and found.__module__.split(".")[0] in packages
    ]


def forget(readers: Iterable[str]) -> None:
    """Clears the caches of functions, named `module:function`, as far as they have one."""
    for reader in readers:
        module, _, name = reader.partition(":")
        clear = getattr(getattr(importlib.import_module(module), name), "cache_clear", None)
        if clear is not None:
            clear()


def _name(node: yaml.Node) -> str:
    """What names an entry: its id or path, else its first value."""
    if not isinstance(node, yaml.MappingNode):
        return str(node.value)
    fields = {key.value: value.value for key, value in node.value}
    return str(fields.get("id") or fields.get("path") or next(iter(fields.values())))
