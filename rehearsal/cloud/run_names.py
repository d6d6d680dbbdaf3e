"""Cloud Run's names: the API's `projects/P/…` and the world's full resource names."""

from __future__ import annotations

from typing import TypeVar

from rehearsal.cloud.calls import Call
from rehearsal.cloud.errors import ApiError
from rehearsal.world import Record

SERVICE = "run.googleapis.com"
TYPES = "type.googleapis.com/google.cloud.run.v2"

T = TypeVar("T")


def full(name: str) -> str:
    """The world's name of an API name."""
    return f"{SERVICE}/{name}"


def existing(call: Call, permission: str, name: str, kind: str) -> Record:
    """The record behind an API name, once the caller may see it.

    Raises:
        ApiError: 401, 403, or 404 when there is none of that kind.
    """
    call.require(permission, full(name))
    record = call.world.get(full(name))
    if record is None or record.kind != kind:
        raise ApiError(
            "NOT_FOUND", f"Resource '{name.rpartition('/')[2]}' of kind '{kind}' in '{name}' not found."
        )
    return record


def page(records: list[T], call: Call) -> tuple[list[T], str]:
    """One page of records, and the token of the next page or an empty text.

    Raises:
        ApiError: the token is not one that was given out.
    """
    size = call.params.get("pageSize") or 100
    token = call.params.get("pageToken") or "0"
    if not (token.isascii() and token.isdecimal()):
        raise ApiError("INVALID_ARGUMENT", f"Invalid value at 'pageToken': {token!r}")
    if size < 0:
        raise ApiError("INVALID_ARGUMENT", f"Invalid value at 'pageSize': {size}")
    start = int(token)
    following = str(start + size) if start + size < len(records) else ""
    return records[start : start + size], following
