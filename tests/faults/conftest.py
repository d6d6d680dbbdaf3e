"""The full product of faults; `make faults` runs it, and prints one line for each case at its end."""

from __future__ import annotations

import pytest

from tests.engine.conftest import hub, make_lab

__all__ = ["hub", "make_lab"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table: outcome, seconds, case."""
    done = [
        report
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        if report.when == "call" and "tests/faults" in report.nodeid
    ]
    terminalreporter.section("one fault at each call of one up")
    for report in done:
        case = report.nodeid.partition("[")[2].rstrip("]")
        terminalreporter.write_line(f"{report.outcome:6} {report.duration:6.1f} s  {case}")
    converged = sum(report.passed for report in done)
    seconds = sum(report.duration for report in done)
    terminalreporter.write_line(f"{converged} of {len(done)} converged, {seconds:.0f} s")
