"""What Google refuses, as data: `rehearsal/data/refusals.yaml`, and the predicates that it names.

A row says for which types, when (`check`: in every preview; `apply`: when the call is made), by which
predicate, with which message, from which source, and how certain that source is. A row marked `U`
(unconfirmed) warns and never refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from providers.base.values import Properties
from rehearsal.standins.model import Cloud

Finding = tuple[str, Mapping[str, Any]]
"""A property path and what the row's message says about it."""

Predicate = Callable[..., Iterator[Finding]]
"""Takes the cloud, the inputs (values may be UNKNOWN) and the row's own arguments by name; yields one finding
for everything that the rule refuses."""

_PREDICATES: dict[str, Predicate] = {}
_DATA = Path(__file__).parent.parent / "data" / "refusals.yaml"


@dataclass(frozen=True, slots=True)
class Refusal:
    """One row of the table."""

    id: str
    types: tuple[str, ...]
    stage: str
    predicate: str
    arguments: Mapping[str, Any]
    message: str
    source: str
    certainty: str
    code: int


def predicate(function: Predicate) -> Predicate:
    """Make a predicate known under its function's name."""
    _PREDICATES[function.__name__] = function
    return function


@cache
def refusals() -> tuple[Refusal, ...]:
    """The whole table.

    Raises:
        KeyError: A row names a predicate that does not exist.
    """
    rows = []
    for row in yaml.safe_load(_DATA.read_text())["refusals"]:
        refusal = Refusal(
            row["id"],
            tuple(row["types"]),
            row.get("stage", "check"),
            row["predicate"],
            row.get("arguments", {}),
            row["message"],
            row["source"],
            row["certainty"],
            row.get("code", 400),
        )
        if refusal.predicate not in _PREDICATES:
            raise KeyError(f"refusals.yaml: {refusal.id}: there is no predicate {refusal.predicate}")
        rows.append(refusal)
    return tuple(rows)


def refused(token: str, stage: str, cloud: Cloud, inputs: Properties) -> list[tuple[Refusal, str]]:
    """Every row that these inputs fall under, with its message; rows of certainty U only warn.

    Args:
        token: The resource's type token.
        stage: `check` or `apply`.
        cloud: The cloud that is asked.
        inputs: The inputs without secret marks.
    """
    found = []
    for row in refusals():
        if row.stage != stage or token not in row.types:
            continue
        for path, facts in _PREDICATES[row.predicate](cloud, inputs, **row.arguments):
            message = f"{path}: {row.message.format(**facts)}" if path else row.message.format(**facts)
            if row.certainty == "U":
                cloud.warn(f"{message} (not confirmed: {row.source})")
            else:
                found.append((row, message))
    return found
