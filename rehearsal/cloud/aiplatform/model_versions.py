"""A model as a record: what belongs to the model, its versions, and their aliases; nothing here does I/O.

What an update may change, and of what, follows the comments on UpdateModelRequest in
https://github.com/googleapis/googleapis/blob/master/google/cloud/aiplatform/v1/model_service.proto.
"""

from __future__ import annotations

import re
import uuid
from typing import Any

from rehearsal.cloud.errors import ApiError

Body = dict[str, Any]

DEFAULT = "default"
_ALIAS = re.compile(r"[a-z][a-zA-Z0-9-]{0,126}[a-z0-9]")
_OF_MODEL = frozenset({"displayName", "description"})
_OF_VERSION = frozenset({"versionDescription"})
_LABELS = "labels"
_GIVEN_ELSEWHERE = _OF_MODEL | {"versionAliases", "name", "etag"}


def empty(model: Body, now: str) -> Body:
    """The record of a model without a version yet.

    Args:
        model: what is to be uploaded.
        now: the world's time.
    """
    own = {key: model[key] for key in (*_OF_MODEL, "encryptionSpec") if key in model}
    return {**own, "labels": {}, "createTime": now, "versions": {}, "next": 1}


def add(body: Body, model: Body, operation: str, now: str) -> tuple[Body, str]:
    """The record with one more version, and that version's id.

    Args:
        body: the record.
        model: what was uploaded.
        operation: which operation does it; one that began anew after a crash adds nothing twice.
        now: the world's time.

    Raises:
        ApiError: an alias is malformed.
    """
    for version, found in body["versions"].items():
        if found["operation"] == operation:
            return body, version
    version = str(body["next"])
    aliases = [_alias(alias) for alias in model.get("versionAliases") or []]
    if not body["versions"]:
        aliases = [*aliases, *([] if DEFAULT in aliases else [DEFAULT])]
    own = {key: value for key, value in model.items() if key not in _GIVEN_ELSEWHERE}
    made = {
        **own,
        "versionAliases": [],
        "versionCreateTime": now,
        "versionUpdateTime": now,
        "etag": uuid.uuid4().hex,
        "operation": operation,
    }
    grown = {
        **body,
        "updateTime": now,
        "next": body["next"] + 1,
        "versions": {**body["versions"], version: made},
    }
    return _move(grown, version, aliases), version


def resolve(body: Body, reference: str) -> str:
    """The id of the version that an id, an alias or nothing at all stands for.

    Raises:
        KeyError: there is none.
    """
    if not reference or reference == "-":
        reference = DEFAULT
    if reference in body["versions"]:
        return reference
    for version, found in body["versions"].items():
        if reference in found["versionAliases"]:
            return str(version)
    raise KeyError(reference)


def merge_aliases(body: Body, version: str, changes: list[str]) -> Body:
    """The record with aliases moved to a version, and those that begin with `-` taken from it.

    Raises:
        ApiError: an alias is malformed, or the default one would be nowhere.
    """
    gone = {change.removeprefix("-") for change in changes if change.startswith("-")}
    if DEFAULT in gone:
        raise ApiError(
            "INVALID_ARGUMENT", "the default alias cannot be removed; give it to another version instead"
        )
    moved = _move(body, version, [_alias(change) for change in changes if not change.startswith("-")])
    found = moved["versions"][version]
    kept = [alias for alias in found["versionAliases"] if alias not in gone]
    return {**moved, "versions": {**moved["versions"], version: {**found, "versionAliases": kept}}}


def update(body: Body, version: str | None, change: Body, mask: list[str], now: str) -> Body:
    """The record with fields replaced.

    Args:
        body: the record.
        version: the version that the name has; None for the model itself.
        change: the request's body.
        mask: the fields.
        now: the world's time.

    Raises:
        ApiError: a field that cannot change, or not under this name.
    """
    wrong = [path for path in mask if path not in (_OF_VERSION if version else _OF_MODEL) | {_LABELS}]
    if wrong:
        elsewhere = [path for path in wrong if path in _OF_MODEL | _OF_VERSION]
        if elsewhere:
            where = "the model's name, without a version" if version else "a version's name, MODEL@VERSION"
            raise ApiError("FAILED_PRECONDITION", f"{', '.join(elsewhere)}: to update this, use {where}")
        raise ApiError("INVALID_ARGUMENT", f"updateMask: {', '.join(wrong)} cannot be updated")
    values = {path: change.get(path) for path in mask}
    if "displayName" in mask and not values["displayName"]:
        raise ApiError("INVALID_ARGUMENT", "Required field is not set: displayName")
    if version is None:
        return {**_with(body, values), "updateTime": now}
    found = {**_with(body["versions"][version], values), "versionUpdateTime": now, "etag": uuid.uuid4().hex}
    return {**body, "updateTime": now, "versions": {**body["versions"], version: found}}


def shown(body: Body, version: str) -> Body:
    """One version as Google shows it: with what belongs to its model, and the labels of both."""
    found = body["versions"][version]
    own = {key: value for key, value in body.items() if key not in ("versions", "next")}
    labels = {**(body.get(_LABELS) or {}), **(found.get(_LABELS) or {})}
    merged = {**own, **found, "versionId": version, "labels": labels}
    return {key: value for key, value in merged.items() if key != _LABELS or value}


def _with(body: Body, values: Body) -> Body:
    merged = {**body, **values}
    return {key: value for key, value in merged.items() if value is not None}


def _move(body: Body, version: str, aliases: list[str]) -> Body:
    versions = {}
    for each, found in body["versions"].items():
        kept = [alias for alias in found["versionAliases"] if alias not in aliases]
        versions[each] = {**found, "versionAliases": [*kept, *(aliases if each == version else [])]}
    return {**body, "versions": versions}


def _alias(alias: str) -> str:
    if not _ALIAS.fullmatch(alias):
        raise ApiError("INVALID_ARGUMENT", f"version alias {alias!r} does not match {_ALIAS.pattern}")
    return alias
