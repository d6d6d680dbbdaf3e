"""Routes and checks requests by Google's own discovery documents.

The documents come with google-api-python-client, so what a request may hold is Google's word and not ours.
An `Api` is loaded when the first request is routed, and knows nothing of what its methods do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from typing import Any
from urllib.parse import unquote

from rehearsal.cloud import schema
from rehearsal.cloud.errors import ApiError

_TEMPLATE = re.compile(r"\{(\+?)(\w+)\}")
# Prefixes under which Cloud Storage serves the same method for media.
# https://cloud.google.com/storage/docs/uploading-objects
_MEDIA_PREFIXES = {
    "upload": "mediaUpload",
    "resumable/upload": "mediaUpload",
    "download": "supportsMediaDownload",
}


@dataclass(frozen=True, slots=True)
class Method:
    """One method of an API, with the expression that its paths match."""

    api: Api
    id: str
    verb: str
    pattern: re.Pattern[str]
    description: Mapping[str, Any]
    media: str = ""
    """`upload`, `resumable/upload` or `download` when the path has that prefix."""


@dataclass(frozen=True, slots=True)
class Routed:
    """A request that the discovery document accepts."""

    method: Method
    params: Mapping[str, Any]
    """Path and query parameters, as their declared types; repeated ones as lists."""


class Api:
    """One Google API by its discovery document.

    Args:
        document: name of the bundled document, for instance `run.v2`.
        below: the resources whose methods are wanted, each from the outermost; by default all of them. Of an
            API with many hundred methods the others take seconds to prepare; they are then not found.
    """

    def __init__(self, document: str, below: Sequence[Sequence[str]] = ((),)) -> None:
        self.document = document
        self._below = below

    @cached_property
    def _doc(self) -> dict[str, Any]:
        package = resources.files("googleapiclient.discovery_cache.documents")
        doc: dict[str, Any] = json.loads((package / f"{self.document}.json").read_text(encoding="utf-8"))
        return doc

    @property
    def locations(self) -> frozenset[str]:
        """Where the API has an address of its own: the document's `endpoints`."""
        return frozenset(found["location"] for found in self._doc.get("endpoints", []))

    @property
    def schemas(self) -> Mapping[str, Any]:
        """The document's schemas by name."""
        found: Mapping[str, Any] = self._doc["schemas"]
        return found

    @cached_property
    def methods(self) -> tuple[Method, ...]:
        """Every method, and its media forms beside it; those with a verb after the name (`:cancel`) first.

        The last part of a plain method's name takes a colon too, so `jobs/j:cancel` is also a job's path.
        """
        found = [method for path in self._below for method in self._walk(self._node(path))]
        return tuple(sorted(found, key=lambda method: not _has_verb(method)))

    def _node(self, path: Sequence[str]) -> Mapping[str, Any]:
        node: Mapping[str, Any] = self._doc
        for name in path:
            node = node["resources"][name]
        return node

    def _walk(self, node: Mapping[str, Any]) -> Iterator[Method]:
        for found in node.get("methods", {}).values():
            yield self._method(found, "")
            for prefix, capability in _MEDIA_PREFIXES.items():
                if found.get(capability):
                    yield self._method(found, prefix)
        for child in node.get("resources", {}).values():
            yield from self._walk(child)

    def _method(self, found: Mapping[str, Any], media: str) -> Method:
        path = f"{media}/{self._doc['servicePath']}{found['path']}".lstrip("/")
        pattern = re.compile("/" + _expression(path, found.get("parameters", {})))
        return Method(self, found["id"], found["httpMethod"], pattern, found, media)

    def query(self, method: Method, query: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """Query parameters as their declared types.

        Raises:
            ApiError: an unknown name, or a value that the document does not allow.
        """
        own = {k: v for k, v in method.description.get("parameters", {}).items() if v["location"] == "query"}
        known = {**self._doc["parameters"], **own}
        if method.media and method.media != "download":
            known["upload_id"] = {"type": "string", "location": "query"}
        result: dict[str, Any] = {}
        for name, text in query:
            if name not in known:
                message = (
                    f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query parameter.'
                )
                raise ApiError("INVALID_ARGUMENT", message)
            value = schema.parameter(name, known[name], text)
            if known[name].get("repeated"):
                result.setdefault(name, []).append(value)
            else:
                result[name] = value
        missing = [k for k, v in own.items() if v.get("required") and k not in result]
        if missing:
            raise ApiError("INVALID_ARGUMENT", f"Required parameter: {', '.join(missing)}")
        return result

    def body(self, method: Method, raw: bytes) -> dict[str, Any] | None:
        """The request's JSON, checked, without read-only fields; None where the method takes none.

        Raises:
            ApiError: not JSON, an unknown field, a wrong type.
        """
        reference = method.description.get("request")
        if reference is None:
            return None
        try:
            parsed = json.loads(raw) if raw.strip() else {}
        except ValueError as error:
            raise ApiError("INVALID_ARGUMENT", f"Invalid JSON payload received. {error}") from None
        cleaned: dict[str, Any] = schema.clean_body(self.schemas, reference["$ref"], parsed)
        return cleaned

    def missing(self, method: Method, body: Mapping[str, Any]) -> list[str]:
        """The fields that the method requires and the body lacks, as paths."""
        reference = method.description.get("request")
        return list(schema.missing(self.schemas, reference["$ref"], body)) if reference else []

    def trim(self, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of a body that the named schema has: what the API would show of a world record."""
        known = self.schemas[name]["properties"]
        return {key: value for key, value in body.items() if key in known}


def _has_verb(method: Method) -> bool:
    return ":" in str(method.description["path"]).rpartition("}")[2]


def _expression(path: str, parameters: Mapping[str, Any]) -> str:
    parts: list[str] = []
    end = 0
    for found in _TEMPLATE.finditer(path):
        parts.append(re.escape(path[end : found.start()]))
        reserved, name = found.groups()
        inside = parameters.get(name, {}).get("pattern", "^.+$").strip("^$") if reserved else "[^/]+"
        parts.append(f"(?P<{name}>{inside})")
        end = found.end()
    return "".join(parts) + re.escape(path[end:])


class Router:
    """Finds the method that a request calls among several APIs."""

    def __init__(self, apis: Sequence[Api]) -> None:
        self.apis = apis

    def route(self, verb: str, raw_path: str, query: Sequence[tuple[str, str]]) -> Routed:
        """The method and its parameters.

        Args:
            raw_path: path as it was sent, still percent-encoded: an object's name may hold `%2F`.

        Raises:
            ApiError: no API here has such a path (404) or verb (405 at Google, worded as 404 there too).
        """
        # `:` may arrive encoded by clients that encode every reserved character of a resource name.
        path = raw_path.replace("%3A", ":").replace("%3a", ":")
        other_verbs: list[str] = []
        for api in self.apis:
            for method in api.methods:
                match = method.pattern.fullmatch(path)
                if match is None:
                    continue
                if method.verb != verb:
                    other_verbs.append(method.verb)
                    continue
                params = {name: unquote(text) for name, text in match.groupdict().items()}
                return Routed(method, {**params, **api.query(method, query)})
        hint = f" This address takes {', '.join(sorted(set(other_verbs)))}." if other_verbs else ""
        raise ApiError("NOT_FOUND", f"The requested URL {unquote(raw_path)} was not found for {verb}.{hint}")
