"""Checks of parameters and bodies against the schemas of a Google discovery document.

The format is described at https://developers.google.com/discovery/v1/type-format; the refusals are worded
as Google's front end words them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from rehearsal.cloud.errors import ApiError

type_names = {"string": str, "boolean": bool, "object": dict, "array": list}
_DURATION = re.compile(r"-?\d+(\.\d{1,9})?s")
_A_DURATION = "a duration in seconds such as 3.5s"


def clean_body(schemas: Mapping[str, Any], name: str, body: Any) -> Any:
    """The body without its read-only fields.

    Args:
        schemas: `schemas` of the discovery document.
        name: the schema that the method's request refers to.
        body: parsed JSON.

    Raises:
        ApiError: an unknown field or a wrong type, at any depth, with its path.
    """
    return _value(schemas, {"$ref": name}, body, "")


def _value(schemas: Mapping[str, Any], schema: Mapping[str, Any], value: Any, path: str) -> Any:
    if "$ref" in schema:
        return _value(schemas, schemas[schema["$ref"]], value, path)
    kind = schema.get("type", "any")
    if kind == "any" or value is None:
        return value
    if kind == "object":
        return _object(schemas, schema, value, path)
    if kind == "array":
        if not isinstance(value, list):
            raise _wrong(path, "an array", value)
        return [_value(schemas, schema["items"], item, f"{path}[{i}]") for i, item in enumerate(value)]
    return _scalar(schema, value, path)


def _object(schemas: Mapping[str, Any], schema: Mapping[str, Any], value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(path, "an object", value)
    known: Mapping[str, Any] = schema.get("properties", {})
    rest: Mapping[str, Any] | None = schema.get("additionalProperties")
    result: dict[str, Any] = {}
    for key, item in value.items():
        field = known.get(key, rest)
        if field is None:
            where = f" at '{path}'" if path else ""
            message = f'Invalid JSON payload received. Unknown name "{key}"{where}: Cannot find field.'
            raise ApiError("INVALID_ARGUMENT", message)
        cleaned = _value(schemas, field, item, f"{path}.{key}" if path else key)
        if not field.get("readOnly"):
            result[key] = cleaned
    return result


def _scalar(schema: Mapping[str, Any], value: Any, path: str) -> Any:
    kind, form = schema["type"], schema.get("format", "")
    if form in ("int64", "uint64"):
        # A 64-bit integer travels as text; Google's parser takes a bare number too.
        if isinstance(value, bool) or not re.fullmatch(r"-?\d+", str(value)):
            raise _wrong(path, f"a value of type {form}", value)
        return str(value)
    if kind == "integer" and (not isinstance(value, int) or isinstance(value, bool)):
        raise _wrong(path, "an integer", value)
    if kind == "number" and (not isinstance(value, int | float) or isinstance(value, bool)):
        raise _wrong(path, "a number", value)
    if kind in ("string", "boolean") and not isinstance(value, type_names[kind]):
        raise _wrong(path, f"a {kind}", value)
    if form == "google-duration" and not _DURATION.fullmatch(value):
        raise _wrong(path, _A_DURATION, value)
    if "enum" in schema and value not in schema["enum"]:
        raise _wrong(path, f"one of {', '.join(schema['enum'])}", value)
    return value


def _wrong(path: str, expected: str, value: Any) -> ApiError:
    where = path or "the body"
    return ApiError("INVALID_ARGUMENT", f"Invalid value at '{where}': expected {expected}, got {value!r}")


def missing(schemas: Mapping[str, Any], name: str, body: Any, path: str = "") -> Iterator[str]:
    """Paths of the fields that a body lacks though their description begins with `Required.`

    A discovery document marks what is required of a body in no other way; where an object is absent, nothing
    in it is required.

    Args:
        schemas: `schemas` of the discovery document.
        name: the body's schema.
        body: the body, already checked by `clean_body`.
        path: where the body is, for the messages.
    """
    for key, field in schemas[name].get("properties", {}).items():
        here = f"{path}.{key}" if path else key
        value = body.get(key)
        if value in (None, "", [], {}):
            if field.get("description", "").startswith("Required.") and not field.get("readOnly"):
                yield here
        elif "$ref" in field:
            yield from missing(schemas, field["$ref"], value, here)
        elif "$ref" in field.get("items", {}):
            for index, item in enumerate(value):
                yield from missing(schemas, field["items"]["$ref"], item, f"{here}[{index}]")


def parameter(name: str, schema: Mapping[str, Any], text: str) -> Any:
    """A parameter's text as its declared type.

    Raises:
        ApiError: a wrong type, a value outside the enumeration, or one that does not match the pattern.
    """
    kind = schema.get("type", "string")
    if kind == "boolean":
        # Google's own command line writes True, as Python does.
        if text.lower() not in ("true", "false"):
            raise _wrong(name, "true or false", text)
        return text.lower() == "true"
    if kind == "integer" or schema.get("format") in ("int64", "uint64"):
        if not re.fullmatch(r"-?\d+", text):
            raise _wrong(name, "an integer", text)
        return int(text)
    if schema.get("format") == "google-duration" and not _DURATION.fullmatch(text):
        raise _wrong(name, _A_DURATION, text)
    if "enum" in schema and text not in schema["enum"]:
        raise _wrong(name, f"one of {', '.join(schema['enum'])}", text)
    if "pattern" in schema and not re.search(schema["pattern"], text):
        raise _wrong(name, f"text that matches {schema['pattern']}", text)
    return text
