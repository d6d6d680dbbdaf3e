"""Property values: between the engine's wire form and plain Python data.

On the Python side a value is `None`, `bool`, `int`, `float`, `str`, `list`, `dict` with string keys, or
`UNKNOWN`, `Secret`, `Asset`, `Archive` and `ResourceReference`. Numbers without a fraction are `int`.

Source of the wire form: the engine's `sdk/go/common/resource/plugin/rpc.go` and `…/resource/{asset,archive}`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, TypeAlias

from google.protobuf import struct_pb2

from providers.base.paths import Path, children, parse_path, same_step

Value: TypeAlias = Any
"""A property value in the Python form above; recursive, hence not spelled out as a type."""

Properties: TypeAlias = dict[str, Value]


class Unknown(Enum):
    """The type of `UNKNOWN`."""

    UNKNOWN = "unknown"

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = Unknown.UNKNOWN
"""A value that is known only after the resources it comes from exist. Compare with `is`."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A value that the engine encrypts in the state and hides in its output."""

    value: Value

    def __repr__(self) -> str:
        return "Secret(…)"


@dataclass(frozen=True, slots=True)
class Asset:
    """A file's content. The engine sends only the hash where it compares, never the content."""

    text: str | None = None
    path: str | None = None
    uri: str | None = None
    hash: str = ""


@dataclass(frozen=True, slots=True)
class Archive:
    """A set of files: a folder or archive file (`path`), an address, or named assets and archives."""

    assets: Mapping[str, Asset | Archive] | None = None
    path: str | None = None
    uri: str | None = None
    hash: str = ""


@dataclass(frozen=True, slots=True)
class ResourceReference:
    """Another resource, handed over whole. `id` is None for a component, UNKNOWN before its creation."""

    urn: str
    id: str | Unknown | None = None
    package_version: str = ""


_SIGNATURE = "4dabf18193072939515e22adb298388d"
_ASSET = "c44067f5952c0a294b673a41bacd8c17"
_ARCHIVE = "0def7320c3a5731c473e5ecbe6d01bc7"
_SECRET = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - a marker, no secret
_RESOURCE = "5cf8f73096256a8f31e491e813e4eb8e"
_OUTPUT = "d0e6a833031e9bbcd3f4e8bde6ca49a4"

_UNKNOWN_STRING = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
_UNKNOWNS = frozenset(
    {
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",  # boolean
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",  # number
        _UNKNOWN_STRING,
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",  # list
        "030794c1-ac77-496b-92df-f27374a8bd58",  # asset
        "e48ece36-62e2-4504-bad9-02848725956a",  # archive
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",  # mapping
    }
)
_EXACT = 2**53
"""The wire carries numbers as doubles; beyond this, neighbouring integers cannot be told apart."""


def decode_properties(struct: struct_pb2.Struct) -> Properties:
    """The properties in a message of the engine.

    Raises:
        ValueError: a special value has an unknown signature or lacks a part.
    """
    return {key: decode(value) for key, value in struct.fields.items()}


def encode_properties(properties: Mapping[str, Value]) -> struct_pb2.Struct:
    """Properties as the engine reads them.

    Raises:
        TypeError: a value, named by its key, has a type that the wire cannot carry.
        ValueError: a number, or a mapping's key, cannot be carried faithfully.
    """
    fields: dict[str, struct_pb2.Value] = {}
    for key, value in properties.items():
        if not isinstance(key, str):
            raise TypeError(f"property names are strings, not {key!r}")
        if key == _SIGNATURE:
            raise ValueError(f"{key!r} is reserved by the engine and cannot be a property's name")
        try:
            fields[key] = encode(value)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{key}: {error}") from None
    return struct_pb2.Struct(fields=fields)


def decode(value: struct_pb2.Value) -> Value:
    """One value of a message of the engine; raises as `decode_properties` does."""
    kind = value.WhichOneof("kind")
    if kind == "bool_value":
        return value.bool_value
    if kind == "number_value":
        return _decode_number(value.number_value)
    if kind == "string_value":
        return UNKNOWN if value.string_value in _UNKNOWNS else value.string_value
    if kind == "list_value":
        return [decode(item) for item in value.list_value.values]
    if kind == "struct_value":
        properties = decode_properties(value.struct_value)
        return _decode_special(properties) if _SIGNATURE in properties else properties
    return None


def encode(value: Value) -> struct_pb2.Value:
    """One value as the engine reads it; raises as `encode_properties` does."""
    if value is None:
        return struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)
    if isinstance(value, bool):
        return struct_pb2.Value(bool_value=value)
    if isinstance(value, int | float):
        return _encode_number(value)
    if isinstance(value, str):
        return struct_pb2.Value(string_value=value)
    if isinstance(value, list | tuple):
        return struct_pb2.Value(list_value=struct_pb2.ListValue(values=[encode(item) for item in value]))
    if isinstance(value, Mapping):
        return struct_pb2.Value(struct_value=encode_properties(value))
    return _encode_special(value)


def _decode_number(number: float) -> int | float:
    return int(number) if number.is_integer() and abs(number) <= _EXACT else number


def _encode_number(number: int | float) -> struct_pb2.Value:
    if isinstance(number, int) and abs(number) > _EXACT:
        raise ValueError(f"{number} is too large to be carried exactly as a number; pass it as a string")
    return struct_pb2.Value(number_value=number)


def _decode_special(parts: Properties) -> Value:
    signature = parts.pop(_SIGNATURE)
    if signature == _SECRET:
        # The engine drops an unknown inside a secret where unknowns are not wanted.
        return Secret(parts.get("value", UNKNOWN))
    if signature == _OUTPUT:
        known = parts.get("value", UNKNOWN)
        return Secret(known) if parts.get("secret") else known
    if signature == _ASSET:
        return Asset(parts.get("text"), parts.get("path"), parts.get("uri"), parts.get("hash", ""))
    if signature == _ARCHIVE:
        return Archive(parts.get("assets"), parts.get("path"), parts.get("uri"), parts.get("hash", ""))
    if signature == _RESOURCE:
        if "urn" not in parts:
            raise ValueError("a resource reference without urn")
        # An empty id is how the engine says that the resource's id is not known yet.
        identifier = UNKNOWN if parts.get("id") == "" else parts.get("id")
        return ResourceReference(parts["urn"], identifier, parts.get("packageVersion", ""))
    raise ValueError(f"a value with the signature {signature!r}, which this provider does not know")


def _encode_special(value: Value) -> struct_pb2.Value:
    if value is UNKNOWN:
        return struct_pb2.Value(string_value=_UNKNOWN_STRING)
    if isinstance(value, Secret):
        return _special(_SECRET, {"value": value.value})
    if isinstance(value, Asset):
        parts: Properties = {
            "text": value.text,
            "path": value.path,
            "uri": value.uri,
            "hash": value.hash or None,
        }
        return _special(_ASSET, _present(parts))
    if isinstance(value, Archive):
        parts = {"assets": value.assets, "path": value.path, "uri": value.uri, "hash": value.hash or None}
        return _special(_ARCHIVE, _present(parts))
    if isinstance(value, ResourceReference):
        parts = {"urn": value.urn, "id": value.id, "packageVersion": value.package_version or None}
        return _special(_RESOURCE, _present(parts))
    raise TypeError(f"a {type(value).__name__} is no property value")


def _present(parts: Mapping[str, Value]) -> Properties:
    return {key: value for key, value in parts.items() if value is not None}


def _special(signature: str, parts: Properties) -> struct_pb2.Value:
    struct = encode_properties(parts)
    struct.fields[_SIGNATURE].string_value = signature
    return struct_pb2.Value(struct_value=struct)


def strip_secrets(value: Value) -> Value:
    """The value with every secret, at any depth, replaced by what it holds."""
    if isinstance(value, Secret):
        return strip_secrets(value.value)
    return _map_members(value, strip_secrets)


def has_unknown(value: Value) -> bool:
    """Whether the value is, or holds at any depth, an unknown."""
    return _any(
        value, lambda part: part is UNKNOWN or (isinstance(part, ResourceReference) and part.id is UNKNOWN)
    )


def has_secret(value: Value) -> bool:
    """Whether the value is, or holds at any depth, a secret."""
    return _any(value, lambda part: isinstance(part, Secret))


def mark_secret(properties: Properties, paths: Iterable[str]) -> Properties:
    """A copy in which what stands at the given property paths is secret; `[*]` and `*` are wildcards.

    Paths that lead nowhere are passed over, since outputs may be absent.
    """
    marked: Value = properties
    for path in paths:
        marked = _mark(marked, parse_path(path))
    return dict(marked)


def _mark(value: Value, path: Path) -> Value:
    if isinstance(value, Secret):
        return value
    if not path:
        return Secret(value)
    if isinstance(value, dict):
        return {k: _mark(v, path[1:]) if same_step(path[0], k) else v for k, v in value.items()}
    if isinstance(value, list):
        return [_mark(v, path[1:]) if same_step(path[0], i) else v for i, v in enumerate(value)]
    return value


def _map_members(value: Value, change: Callable[[Value], Value]) -> Value:
    if isinstance(value, dict):
        return {key: change(member) for key, member in value.items()}
    if isinstance(value, list):
        return [change(member) for member in value]
    return value


def _any(value: Value, test: Callable[[Value], bool]) -> bool:
    if test(value):
        return True
    if isinstance(value, Secret):
        return _any(value.value, test)
    return any(_any(member, test) for _, member in children(value))
