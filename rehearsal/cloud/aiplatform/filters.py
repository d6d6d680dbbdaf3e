"""List filters of Vertex AI: comparisons joined by AND, OR and NOT, with parentheses.

What each list takes is in the discovery document's descriptions of its `filter`; the language is that of
https://google.aip.dev/160, of which those descriptions use `=`, `!=`, `:` and the time comparisons.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from rehearsal.cloud.aiplatform.names import camel
from rehearsal.cloud.errors import ApiError

Fields = Mapping[str, Any]
"""What a filter may look at: `labels` and plain fields, by their names in camelCase."""

Test = Callable[[Fields], bool]
_TOKEN = re.compile(
    r"""\s*(?:(?P<bracket>[()])|(?P<word>AND|OR|NOT)\b|
    (?P<field>[A-Za-z_]+)(?:\.(?P<key>"[^"]*"|[\w-]+))?\s*
    (?P<compare>!=|<=|>=|=|<|>|:)\s*(?P<value>"[^"]*"|[^\s()]+)|
    (?P<end>$))""",
    re.VERBOSE,
)


def compiled(text: str, fields: frozenset[str]) -> Test:
    """A filter as a function.

    Args:
        text: the filter; empty selects everything.
        fields: the fields that the list can be filtered by, in camelCase.

    Raises:
        ApiError: it cannot be read, or compares another field.
    """
    if not text.strip():
        return lambda _: True
    return _Reader(text, fields).read()


class _Reader:
    def __init__(self, text: str, fields: frozenset[str]) -> None:
        self._text = text
        self._fields = fields
        self._at = 0
        self._token = self._next()

    def read(self) -> Test:
        test = self._either()
        if self._token["end"] is None:
            raise self._wrong()
        return test

    def _either(self) -> Test:
        tests = [self._both()]
        while self._token["word"] == "OR":
            self._token = self._next()
            tests.append(self._both())
        return lambda found: any(test(found) for test in tests)

    def _both(self) -> Test:
        tests = [self._one()]
        while self._token["word"] == "AND":
            self._token = self._next()
            tests.append(self._one())
        return lambda found: all(test(found) for test in tests)

    def _one(self) -> Test:
        token = self._token
        if token["word"] == "NOT":
            self._token = self._next()
            inner = self._one()
            return lambda found: not inner(found)
        if token["bracket"] == "(":
            self._token = self._next()
            inside = self._either()
            if self._token["bracket"] != ")":
                raise self._wrong()
            self._token = self._next()
            return inside
        if token["field"] is None:
            raise self._wrong()
        self._token = self._next()
        return self._comparison(token)

    def _comparison(self, token: re.Match[str]) -> Test:
        field, key = camel(token["field"]), (token["key"] or "").strip('"')
        compare, value = token["compare"], token["value"].strip('"')
        if field not in self._fields or (key and field != "labels"):
            raise ApiError("INVALID_ARGUMENT", f"Invalid filter: field '{token['field']}' is not supported")
        if field == "labels":
            # `labels:key` asks for a key, as `labels.key:*` does.
            return _label(key or value, compare, value if key else "*")
        return lambda found: _holds(str(found.get(field, "")), compare, value)

    def _next(self) -> re.Match[str]:
        found = _TOKEN.match(self._text, self._at)
        if found is None:
            raise self._wrong()
        self._at = found.end()
        return found

    def _wrong(self) -> ApiError:
        return ApiError("INVALID_ARGUMENT", f"Invalid filter: {self._text!r} cannot be read")


def _label(key: str, compare: str, value: str) -> Test:
    def test(found: Fields) -> bool:
        labels = found.get("labels") or {}
        return key in labels and (value == "*" or _holds(labels[key], compare, value))

    return test


def _holds(present: str, compare: str, value: str) -> bool:
    if compare == ":":
        return fnmatchcase(present, value)
    results = {
        "=": present == value,
        "!=": present != value,
        "<": present < value,
        "<=": present <= value,
        ">": present > value,
        ">=": present >= value,
    }
    return results[compare]
