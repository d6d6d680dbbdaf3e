"""What Google refuses, as data: `rehearsal/data/refusals/*.yaml`, and the predicates that they name.

A row says

- for which types, and by which predicate with which arguments (`rehearsal/standins/gcp/rules_*.py`);
- when: `stage` is `check` (in every preview) or `apply` (when the call is made, to look something up);
- what is said (`message`), and under which HTTP code (`code`, 400 unless given);
- where it is written (`source`) and how certain that is (`certainty`): `C` read in the source, `D` follows
  from what was read, `U` unconfirmed;
- where a test finds it again (`quote`: words of a file of the installed SDK, or of a discovery document).

A row of certainty `U` warns and never refuses. So does one of `severity: warning`: Google accepts it, and it
is a mistake all the same.
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
_DATA = Path(__file__).parent.parent / "data" / "refusals"


@dataclass(frozen=True, slots=True)
class Quote:
    """Words of a source that is installed with the project."""

    file: str
    """A path below the environment's packages, or a discovery document's name, for instance `run.v2`."""
    text: str


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
    severity: str
    quote: Quote | None

    @property
    def refuses(self) -> bool:
        """Whether the call fails; otherwise a person is warned, and it goes on."""
        return self.certainty != "U" and self.severity == "refusal"


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
    rows = [
        _row(row)
        for path in sorted(_DATA.glob("*.yaml"))
        for row in yaml.safe_load(path.read_text())["refusals"]
    ]
    for row in rows:
        if row.predicate not in _PREDICATES:
            raise KeyError(f"refusals: {row.id}: there is no predicate {row.predicate}")
    return tuple(rows)


def _row(row: Mapping[str, Any]) -> Refusal:
    return Refusal(
        id=row["id"],
        types=tuple(row["types"]),
        stage=row.get("stage", "check"),
        predicate=row["predicate"],
        arguments=row.get("arguments", {}),
        message=row["message"],
        source=row["source"],
        certainty=row["certainty"],
        code=row.get("code", 400),
        severity=row.get("severity", "refusal"),
        quote=Quote(**row["quote"]) if "quote" in row else None,
    )


def refused(token: str, stage: str, cloud: Cloud, inputs: Properties) -> list[tuple[Refusal, str]]:
    """Every row that refuses these inputs, with its message; the others that apply warn.

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
            if row.refuses:
                found.append((row, message))
            else:
                cloud.warn(f"{message} (not confirmed: {row.source})" if row.certainty == "U" else message)
    return found
