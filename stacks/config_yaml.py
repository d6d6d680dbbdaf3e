"""YAML as the engine reads it, so that a stack file means the same to both readers.

The engine uses gopkg.in/yaml.v3: `yes` and `on` are text, `1e3` is a number, a number with a leading zero is
octal, a date becomes text, and a key that is written twice is an error (`resolve.go` and `decode.go` there;
the text of a date comes from the engine's `config/object.go`).
"""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import Any

import yaml
from yaml.constructor import ConstructorError

_EXPONENT_FROM = 1e21


class _Loader(yaml.SafeLoader):
    # Start from no rules at all: the parent's are those of YAML 1.1.
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def construct_scalar(self, node: Any) -> Any:
        """Reads a scalar; one that has a tag must be written as that tag is."""
        written = _WRITTEN.get(node.tag)
        if written is not None and isinstance(node, yaml.ScalarNode) and not written.fullmatch(node.value):
            kind = node.tag.rpartition(":")[2]
            raise ConstructorError(None, None, f"{node.value!r} has the tag !!{kind}", node.start_mark)
        return super().construct_scalar(node)


def load_yaml(text: str) -> Any:
    """Reads the first YAML document; numbers without a fraction come back as whole numbers.

    Raises:
        yaml.YAMLError: not YAML, a key written twice, or a key that is not a scalar.
    """
    return next(yaml.load_all(text, Loader=_Loader), None)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[str, Any]:
    seen: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise ConstructorError(None, None, "a key must be text", key.start_mark)
        if key.value in seen:
            raise ConstructorError(None, None, f"{key.value} is written twice", key.start_mark)
        seen.add(key.value)
    loader.flatten_mapping(node)
    return {
        _key(loader.construct_object(key, deep=True)): loader.construct_object(value, deep=True)
        for key, value in node.value
    }


def _untagged(loader: _Loader, node: yaml.Node) -> Any:
    """Reads a mapping or list whatever its tag says; a scalar with an unknown tag is an error."""
    if isinstance(node, yaml.MappingNode):
        return _mapping(loader, node)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_undefined(node)


def _key(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _float(loader: _Loader, node: yaml.ScalarNode) -> float | int | str:
    written = str(loader.construct_scalar(node))
    text = written.replace("_", "").lower()
    value = float(text.replace(".inf", "inf").replace(".nan", "nan"))
    # Go finds no number that large, and takes it for text.
    return written if math.isinf(value) and "inf" not in text else _number(value)


def _number(value: float) -> float | int:
    # The engine hands objects on as JSON, where Go writes 1e3 as 1000, and from 1e21 on with an exponent.
    return int(value) if value.is_integer() and abs(value) < _EXPONENT_FROM else value


def _int(loader: _Loader, node: yaml.ScalarNode) -> float | int | str:
    written = str(loader.construct_scalar(node))
    text = written.replace("_", "").lower()
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text.lstrip("+"))
    octal = len(digits) > 1 and digits.isdigit() and digits.startswith("0")
    try:
        value = sign * int(digits, 8 if octal else 0)
    except ValueError:
        # 0x_ is no number, and thousands of digits are none that Go reads.
        return written
    return value if -(2**63) <= value < 2**64 else _number(float(value))


def _timestamp(loader: _Loader, node: yaml.ScalarNode) -> str:
    text = str(loader.construct_scalar(node))
    try:
        value = loader.construct_yaml_timestamp(node)
    except ValueError:
        return text
    clock = f"{value:%H:%M:%S}" if isinstance(value, datetime) else "00:00:00"
    return f"{value:%Y-%m-%d} {clock} +0000 UTC"


_FLOAT = r"[-+]?(?:\.\d+|\d[\d_]*(?:\.\d*)?)(?:[eE][-+]?\d+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
_RULES = (
    ("bool", "true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("null", "~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?(?:0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)", list("-+0123456789")),
    ("float", _FLOAT, list("-+0123456789.")),
    ("timestamp", r"\d{4}-\d\d?-\d\d?(?:[Tt ]\d\d?:\d\d:\d\d.*)?", list("0123456789")),
    ("merge", "<<", ["<"]),
)
_WRITTEN = {f"tag:yaml.org,2002:{_tag}": re.compile(_pattern) for _tag, _pattern, _ in _RULES}
for _tag, _pattern, _first in _RULES:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), _first)
_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
for _tag in ("omap", "pairs", "set"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _untagged)
_Loader.add_constructor(None, _untagged)
_Loader.add_constructor("tag:yaml.org,2002:float", _float)
_Loader.add_constructor("tag:yaml.org,2002:int", _int)
_Loader.add_constructor("tag:yaml.org,2002:timestamp", _timestamp)
