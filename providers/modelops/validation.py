"""Checking a resource's inputs against a pydantic model, some of them unknown yet or secret."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from providers.base.paths import format_path
from providers.base.provider import CheckFailure
from providers.base.values import UNKNOWN, Properties, Secret, has_secret, strip_secrets

_KEY = "[key]"
"""What pydantic puts into a location where a mapping's key is wrong."""


RULE = "rule"
"""Type of the `PydanticCustomError`s of our own rules, whose messages say all by themselves. One about an
input below what the rule looks at names it as `path` in its context."""


def errors(model: type[BaseModel], given: Any) -> list[ErrorDetails]:
    """What a model refuses of plain data; nothing where it accepts it."""
    try:
        model.model_validate(given)
    except ValidationError as error:
        return error.errors()
    return []


def reason(resource: str, error: ErrorDetails, shapes: Mapping[str, str], given: Any = None) -> str:
    """Why an input is refused, as a person reads it after the input's name; a secret is not told.

    Args:
        resource: what the resource is called in the message on an input that it does not have.
        error: pydantic's.
        shapes: what an input that has a pattern must be, by its name.
        given: what was refused, with its secrets, where it may have any.
    """
    kind, name = error["type"], _name(error)
    value = Secret(None) if _is_secret(given, error["loc"]) else error["input"]
    if kind == "missing":
        return "is required"
    if kind == "extra_forbidden":
        return f"is no input of {resource}"
    if kind == "string_pattern_mismatch" and name in shapes:
        return f"{value!r} is not {shapes[name]}"
    if kind == RULE:
        return error["msg"]
    return f"{error['msg'][0].lower()}{error['msg'][1:]}, got {value!r}"


def failures(
    model: type[BaseModel], resource: str, news: Properties, shapes: Mapping[str, str]
) -> list[CheckFailure]:
    """What is wrong with inputs, each with its property path; what is unknown yet is passed over.

    Args:
        model: the inputs' model, whose aliases are the names on the wire.
        resource, shapes: as in `reason`.
        news: the inputs as the engine sends them.
    """
    known = {name: strip_secrets(value) for name, value in news.items() if value is not None}
    return [
        CheckFailure(format_path(_path(error)), reason(resource, error, shapes, news))
        for error in errors(model, known)
        if error["input"] is not UNKNOWN
    ]


def _is_secret(given: Any, location: tuple[str | int, ...]) -> bool:
    """Whether what stands at a location is a secret, is inside of one, or has one inside."""
    for step in location:
        inner = dict(enumerate(given)) if isinstance(given, list) else given
        if not isinstance(inner, Mapping) or step not in inner:
            break
        given = inner[step]
    return has_secret(given)


def _path(error: ErrorDetails) -> tuple[str | int, ...]:
    below = error.get("ctx", {}).get("path")
    return (*(step for step in error["loc"] if step != _KEY), *([below] if below else []))


def _name(error: ErrorDetails) -> str:
    return next((step for step in reversed(_path(error)) if isinstance(step, str)), "")
