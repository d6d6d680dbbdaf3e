"""What a check found, told so that a person can put it right."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel

from tests.mutation.check import Outcome
from tests.mutation.scope import Equivalent
from tests.mutation.session import Verdict
from tests.mutation.site import Site


class Report(BaseModel):
    """What a check found.

    Attributes:
        rules: How many rules were taken away, by file.
        killed: How many of them a test missed.
        equivalent: How many are listed as not to be noticed.
        problems: What fails the check, by file; those of no file stand below "".
    """

    rules: dict[str, int]
    killed: int
    equivalent: int
    problems: dict[str, list[str]]

    @property
    def lines(self) -> list[str]:
        """The problems, one line each, and last what was done."""
        told = [line for file in sorted(self.problems) for line in self.problems[file]]
        kept = f", {self.equivalent} cannot be noticed" if self.equivalent else ""
        total = (
            f"{sum(self.rules.values())} rules taken away one at a time: a test missed {self.killed}{kept}"
        )
        return [*told, f"{total}; {len(told)} problems"]


def report(sites: Sequence[Site], outcome: Outcome, equivalents: Sequence[Equivalent]) -> Report:
    """Judges a check.

    Args:
        sites: The rules that were taken away.
        outcome: What came of it.
        equivalents: Rules whose removal cannot be noticed; one that is noticed is a problem too.
    """
    told = Report(rules={}, killed=0, equivalent=0, problems={})
    for test in outcome.baseline.failed:
        told.problems.setdefault("", []).append(f"fails with every rule in place: {test}")
    by_site = {site.key: [row for row in equivalents if _names(row, site)] for site in sites}
    checked = {site.file for site in sites}
    for row in equivalents:
        count = sum(row in rows for rows in by_site.values())
        if count != 1 and row.file in checked:
            text = (
                f"equivalent.yaml names {count} rules by {row.where!r}, {row.rule!r}: name one, or remove it"
            )
            told.problems.setdefault(row.file, []).append(f"{row.file}: {text}")
    for site in sites:
        verdict, rows = outcome.verdicts[site.key], by_site[site.key]
        told.rules[site.file] = told.rules.get(site.file, 0) + 1
        problem = _problem(site, verdict, listed=bool(rows))
        if problem:
            told.problems.setdefault(site.file, []).append(problem)
        elif rows:
            told.equivalent += 1
        else:
            told.killed += 1
    return told


def _names(row: Equivalent, site: Site) -> bool:
    return (row.file, row.where) == (site.file, site.where) and site.text.startswith(row.rule)


def _problem(site: Site, verdict: Verdict, *, listed: bool) -> str:
    """What is wrong with one rule; empty where nothing is."""
    if verdict.killed_by is not None:
        return (
            f"{site}\n    is in equivalent.yaml, and {verdict.killed_by} fails without it: remove it there"
            * listed
        )
    if verdict.trouble:
        return f"{site}\n    could not be judged: {verdict.trouble}"
    if listed:
        return ""
    if verdict.tests == 0:
        return f"{site}\n    no unit test brings it about: add one that does, and checks what is said"
    return (
        f"{site}\n    nothing fails without it (unit tests that bring it about: {verdict.tests}): "
        "add one that checks what it alone says"
    )
