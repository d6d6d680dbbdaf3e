"""Names and limits that Google holds everything to, and how a breach is told.

Each is in `data/google_names.yaml`, with its source and certainty.
"""

from __future__ import annotations

import re
from functools import cache

from stacks.config_errors import show
from stacks.plan.facts import Fact, Sourced, read_table
from stacks.plan.report import Report
from stacks.plan.spec import Strict


class Pattern(Fact[str]):
    """A regular expression that a whole text must match."""

    meaning: str
    """What the expression says, for a person."""


class GoogleNames(Strict):
    """Patterns, limits and lists of words by name."""

    patterns: dict[str, Pattern]
    limits: dict[str, Fact[int]]
    lists: dict[str, Fact[list[str]]]


@cache
def google_names() -> GoogleNames:
    """Reads the table."""
    return GoogleNames.model_validate(read_table("google_names"))


def tell(report: Report, fact: Sourced, path: str, value: object, reason: str, remedy: str) -> None:
    """Reports a breach of a fact: a problem, or a warning where the fact is unconfirmed."""
    if fact.confirmed:
        report.problem(path, value, reason, remedy)
    else:
        report.warn(f"{path} = {show(value)}: {reason} (unconfirmed); {remedy}")


def check_text(report: Report, kind: str, path: str, value: str, reason: str) -> None:
    """Reports a text that does not match the pattern `kind`."""
    pattern = google_names().patterns[kind]
    if not re.fullmatch(pattern.value, value):
        tell(report, pattern, path, value, reason, f"allowed: {pattern.meaning}")


def check_most(report: Report, kind: str, path: str, count: int, what: str) -> None:
    """Reports a number above the limit `kind`; `what` names what is counted."""
    limit = google_names().limits[kind]
    if count > limit.value:
        tell(report, limit, path, count, f"is too many {what}", f"at most {limit.value}")
