"""Reads the reports that the rehearsals of a pull request left, and believes nothing of them.

They were written by the pull request's own code: whatever is no report of the stack that its file is named
after counts as unreadable.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from llmstack.pull_request.stacks import STACK
from llmstack.rehearse.report import Report

_MAX_BYTES = 4 * 1024 * 1024
_MAX_FILES = 100


@dataclass(frozen=True)
class Results:
    """The reports, and the stacks whose file is none."""

    reports: list[Report]
    unreadable: list[str]


def read_results(folder: Path) -> Results:
    """The reports in a folder, one `STACK.json` for each stack; other files are passed over."""
    results = Results([], [])
    files = sorted(path for path in folder.glob("*.json") if STACK.fullmatch(path.stem))
    for path in files[:_MAX_FILES]:
        report = _read(path)
        if report is None:
            results.unreadable.append(path.stem)
        else:
            results.reports.append(report)
    return results


def _read(path: Path) -> Report | None:
    # A link could point anywhere on the machine that holds the token.
    if path.is_symlink() or not path.is_file() or path.stat().st_size > _MAX_BYTES:
        return None
    try:
        report = Report.model_validate_json(path.read_bytes())
    except ValidationError:
        return None
    return report if report.stack == path.stem else None
