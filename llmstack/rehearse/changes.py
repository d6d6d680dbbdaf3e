"""From the engine's events to what becomes of each resource."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pulumi.automation.events import EngineEvent, StepEventMetadata

from llmstack.rehearse.report import LINE_LIMIT, NAME_LIMIT, Change, Op, Property, clipped
from providers.base.paths import Path, parse_path

HOLDS: Mapping[str, str] = {
    "gcp:storage/bucket:Bucket": "the staged models and every other object in it",
    "gcp:artifactregistry/repository:Repository": "the container images in it",
    "gcp:secretmanager/secret:Secret": "the secret's versions",
    "gcp:secretmanager/secretVersion:SecretVersion": "the secret's payload",
}
"""Types whose deletion loses data that no `up` brings back, and what is lost."""

# The engine's own stand-in for a value that only an `up` will know: `UnknownStringValue` of its SDK.
_UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
_VALUE_LIMIT = 100
# One replacement shows as several steps. Where only its deleting half is seen, the program no longer has the
# resource: it went because something that it depends on is replaced.
_REPLACES = {"replace", "create-replacement", "read-replacement"}
_OPS: Mapping[str, Op] = {
    "create": "create",
    "import": "create",
    "update": "update",
    "delete": "delete",
    "delete-replaced": "delete",
    "discard-replaced": "delete",
}
_ORDER: tuple[Op, ...] = ("delete", "replace", "update", "create")
_COLOR = re.compile(r"<\{%[^%]*%\}>|\x1b\[[0-9;]*m")


class Watcher:
    """Collects what the engine says of one operation."""

    def __init__(self) -> None:
        self._steps: dict[str, list[StepEventMetadata]] = {}
        self._errors: list[str] = []

    def on_event(self, event: EngineEvent) -> None:
        """Take one event."""
        if event.resource_pre_event is not None:
            meta = event.resource_pre_event.metadata
            self._steps.setdefault(meta.urn, []).append(meta)
        said = event.diagnostic_event
        if said is not None and said.severity == "error":
            text = _COLOR.sub("", f"{said.prefix or ''}{said.message}").strip()
            if text and text not in self._errors:
                self._errors.append(text)

    @property
    def errors(self) -> str:
        """What the engine gave as errors."""
        return "\n".join(self._errors)

    def changes(self) -> tuple[Change, ...]:
        """Every resource that is not left as it is: losses first, then by name."""
        found = [change for steps in self._steps.values() if (change := _change(steps)) is not None]
        return tuple(
            sorted(found, key=lambda each: (not each.loses_data, _ORDER.index(each.op), each.name, each.type))
        )


def _change(steps: list[StepEventMetadata]) -> Change | None:
    ops = {str(step.op.value) for step in steps}
    op = "replace" if ops & _REPLACES else next((_OPS[each] for each in ops if each in _OPS), None)
    # A component is nothing in the cloud; what it is made of is listed itself.
    if op is None or not any(state.custom for step in steps for state in (step.old, step.new) if state):
        return None
    kind, name = steps[0].urn.split("::")[2].rpartition("$")[2], steps[0].urn.split("::", 3)[3]
    if kind.startswith("pulumi:"):
        return None
    return Change(
        name=clipped(name, NAME_LIMIT),
        type=clipped(kind, NAME_LIMIT),
        op=op,
        properties=_properties(steps) if op in ("update", "replace") else (),
        holds=HOLDS.get(kind, ""),
    )


def _properties(steps: list[StepEventMetadata]) -> tuple[Property, ...]:
    found: dict[str, Property] = {}
    for step in steps:
        keys = tuple(step.keys or ())
        paths = step.detailed_diff or dict.fromkeys(step.diffs or ())
        for path, entry in paths.items():
            kind = "" if entry is None else str(entry.diff_kind.value)
            replaces = kind.endswith("replace") or path in keys
            found[path] = Property(
                path=clipped(path, NAME_LIMIT),
                before=_shown(step.old, path),
                after=_shown(step.new, path),
                replaces=replaces or (path in found and found[path].replaces),
            )
    return tuple(found[path] for path in sorted(found))


def _shown(state: Any, path: str) -> str | None:
    """The value at a property path, as the engine shows it: what is secret reads `[secret]`."""
    if state is None:
        return None
    for values in (state.inputs, state.outputs):
        value = _at(values or {}, parse_path(path))
        if value is not None:
            return _text(value)
    return None


def _at(value: Any, path: Path) -> Any:
    try:
        for step in path:
            value = value[step]
    except (KeyError, IndexError, TypeError):
        return None
    return value


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    text = text.replace(_UNKNOWN, "(known after up)")
    return clipped(" ".join(text.split()), min(_VALUE_LIMIT, LINE_LIMIT))


def named(changes: Iterable[Change]) -> str:
    """Changes as one line: `update assistant-service, delete old-job`."""
    return ", ".join(f"{change.op} {change.name}" for change in changes)
