"""A trained model's metrics as labels, and back.

A label has lower-case letters, digits, `_` and `-` only, so 41.25 is written `41_25` and `eval/rougeL`
becomes `eval_rougel`. A metric that has no value is `none`, never a number that nobody measured.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Final

PREFIX: Final = "metric-"
"""What the label of a metric begins with; the metric's name follows."""
_NONE: Final = "none"
_NUMBER = re.compile(r"-?\d+(_\d+)?(e-?\d+)?")
_NO_LABEL = re.compile(r"[^a-z0-9_-]")


def key_of(name: str) -> str:
    """The key of a metric's label."""
    return PREFIX + _NO_LABEL.sub("_", name.lower())


def to_labels(metrics: Mapping[str, float | None]) -> dict[str, str]:
    """The labels of metrics; the numbers are finite."""
    return {key_of(name): _NONE if value is None else _written(value) for name, value in metrics.items()}


def from_labels(
    labels: Mapping[str, str], names: Iterable[str] = ()
) -> tuple[dict[str, float | None], dict[str, str]]:
    """The metrics among labels, and the other labels; one that begins alike but holds no number is another.

    Args:
        labels: a model's.
        names: metrics that it is known to have, whose names are given back as they are here.
    """
    known = {key_of(name): name for name in names}
    metrics: dict[str, float | None] = {}
    others: dict[str, str] = {}
    for key, value in labels.items():
        if key.startswith(PREFIX) and (value == _NONE or _NUMBER.fullmatch(value)):
            name = known.get(key, key.removeprefix(PREFIX))
            metrics[name] = None if value == _NONE else float(value.replace("_", "."))
        else:
            others[key] = value
    return metrics, others


def representable(value: float | None) -> bool:
    """Whether a label can hold a metric's value."""
    return value is None or math.isfinite(value)


def _written(value: float) -> str:
    return repr(value).replace("+", "").replace(".", "_")
