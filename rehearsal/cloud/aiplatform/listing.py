"""Lists of Vertex AI: what is in them yet, filtered, ordered, in pages, with the fields that are wanted."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from rehearsal.cloud.aiplatform.filters import compiled
from rehearsal.cloud.aiplatform.names import camel, full
from rehearsal.cloud.calls import Call
from rehearsal.cloud.errors import ApiError
from rehearsal.cloud.run_names import page
from rehearsal.world import Record, World

CONSISTENCY = "aiplatform.consistency_seconds"
"""Setting: how long after it was made a thing is missing in lists, though it can be read by its name."""

Shown = dict[str, Any]


def listed(
    call: Call, permission: str, kind: str, show: Callable[[Record], Shown], fields: tuple[str, ...]
) -> tuple[list[Shown], str]:
    """One page of a location's resources, and the next page's token.

    Args:
        call: a request with `parent`, and some of `filter`, `orderBy`, `pageSize`, `pageToken`, `readMask`.
        permission: what the caller needs on the parent.
        kind: the kind of the records, whose second part in the plural is the collection.
        show: makes the answer of a record.
        fields: what the list can be filtered by, in camelCase.
    """
    parent = full(call.world, call.params["parent"])
    call.require(permission, parent)
    records = call.world.list(kind, f"{parent}/{kind.partition('.')[2]}s/")
    return selected(call, [show(record) for record in _settled(call.world, records)], fields)


def selected(call: Call, shown: list[Shown], fields: tuple[str, ...]) -> tuple[list[Shown], str]:
    """Filter, order and cut a list that is complete.

    Raises:
        ApiError: the filter, the order or the page's token cannot be read.
    """
    test = compiled(call.params.get("filter") or "", frozenset(fields))
    found = [each for each in shown if test({**each, **_identifiers(each)})]
    for field, downwards in reversed(_order(call.params.get("orderBy") or "createTime desc")):
        found.sort(key=lambda each, field=field: str(each.get(field, "")), reverse=downwards)  # type: ignore[misc]
    cut, following = page(found, call)
    mask = call.params.get("readMask")
    if mask and mask != "*":
        wanted = {camel(path.strip().partition(".")[0]) for path in mask.split(",")}
        cut = [{key: value for key, value in each.items() if key in wanted} for each in cut]
    return cut, following


def _identifiers(shown: Shown) -> Shown:
    """The last part of the name, under the names that filters know it by."""
    last = str(shown.get("name", "")).rpartition("/")[2].partition("@")[0]
    return {"model": last, "endpoint": last}


def _order(text: str) -> list[tuple[str, bool]]:
    fields = []
    for part in text.split(","):
        words = part.split()
        if not words or len(words) > 2 or words[1:] not in ([], ["desc"], ["asc"]):
            raise ApiError("INVALID_ARGUMENT", f"Invalid orderBy: {text!r} cannot be read")
        fields.append((camel(words[0]), words[1:] == ["desc"]))
    return fields


def _settled(world: World, records: list[Record]) -> list[Record]:
    """Those that have been there long enough to be found."""
    seconds = float(world.setting(CONSISTENCY) or 0)
    if not seconds:
        return records
    latest = datetime.fromisoformat(world.now()) - timedelta(seconds=seconds)
    return [record for record in records if datetime.fromisoformat(record.created) <= latest]
