"""What counts as a difference between a program's inputs and a resource as it is.

A property that the program leaves out is compared with nothing where the provider or Google fills it in;
`rehearsal/data/filled.yaml` lists those that the SDK's types do not tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path as FilePath
from typing import Any

import yaml

from providers.base.diff import Change, diff_properties
from providers.base.paths import Path, children, format_path, parse_path, same_step
from providers.base.values import UNKNOWN, Properties, Secret, mark_secret, strip_secrets

_DATA = FilePath(__file__).parent.parent / "data"


@cache
def replace_paths(token: str) -> tuple[str, ...]:
    """The property paths whose change needs another resource."""
    entries = yaml.safe_load((_DATA / "replace.yaml").read_text())["types"]
    return tuple(entry["path"] for entry in entries.get(token, ()))


@cache
def filled_paths(token: str) -> tuple[Path, ...]:
    """The property paths that Google or the provider fills in when the program gives nothing."""
    entries = yaml.safe_load((_DATA / "filled.yaml").read_text())["types"]
    return tuple(parse_path(entry["path"]) for entry in entries.get(token, ()))


def differences(actual: Mapping[str, Any], wanted: Mapping[str, Any], filled: Sequence[Path]) -> list[Change]:
    """What an update would change.

    Args:
        actual: The resource's inputs as they are.
        wanted: The program's inputs; values may be UNKNOWN.
        filled: Paths that are compared only where the program gives a value.
    """
    changes = diff_properties(comparable(actual, wanted, filled), wanted)
    return [change for change in changes if not (_is_zero(change.old) and _is_zero(change.new))]


def comparable(actual: Mapping[str, Any], wanted: Mapping[str, Any], filled: Sequence[Path]) -> Properties:
    """The part of what is that is worth comparing with what the program wants."""
    return dict(_project(strip_secrets(dict(actual)), strip_secrets(dict(wanted)), (), filled))


def like(inputs: Mapping[str, Any], outputs: Properties) -> Properties:
    """The outputs, secret wherever the inputs are."""
    return mark_secret(outputs, [format_path(path) for path in _secret_paths(dict(inputs), ())])


def foretold_update(
    outputs: Properties, olds: Properties, news: Properties, filled: Sequence[Path] = (), at: Path = ()
) -> Properties:
    """Outputs of an update in a preview: the new inputs, and what the cloud had added beside the old ones.

    Args:
        outputs: as they were.
        olds: the inputs as they were; what is gone from them goes. An import puts all there is into them.
        news: the inputs.
        filled: paths that the cloud fills in where the program gives nothing: these stay.
        at: the path of these properties within the resource's.
    """

    def stays(key: str) -> bool:
        return key not in olds or _is_filled((*at, key), filled)

    merged = {**{key: value for key, value in outputs.items() if stays(key)}, **news}
    for key, value in news.items():
        known, given = outputs.get(key), olds.get(key)
        if isinstance(value, dict) and isinstance(known, dict) and isinstance(given, dict):
            merged[key] = foretold_update(known, given, value, filled, (*at, key))
    return merged


def _project(actual: Any, wanted: Any, path: Path, filled: Sequence[Path]) -> Any:
    if isinstance(actual, dict) and isinstance(wanted, dict):
        return {
            key: _project(value, wanted.get(key), (*path, key), filled)
            for key, value in actual.items()
            if wanted.get(key) is not None or not (_is_zero(value) or _is_filled((*path, key), filled))
        }
    if isinstance(actual, list) and isinstance(wanted, list):
        padded = wanted + [None] * (len(actual) - len(wanted))
        return [
            _project(a, w, (*path, i), filled) for i, (a, w) in enumerate(zip(actual, padded, strict=False))
        ]
    return actual


def _is_filled(path: Path, filled: Sequence[Path]) -> bool:
    return any(len(each) == len(path) and all(map(same_step, each, path)) for each in filled)


def _is_zero(value: Any) -> bool:
    """Whether a value says no more than its absence: the provider's schema cannot tell them apart."""
    if value is UNKNOWN:
        return False
    if isinstance(value, Secret):
        return _is_zero(value.value)
    if isinstance(value, dict):
        return all(map(_is_zero, value.values()))
    return not value


def _secret_paths(value: Any, path: Path) -> list[Path]:
    if isinstance(value, Secret):
        return [path]
    return [found for key, member in children(value) for found in _secret_paths(member, (*path, key))]
