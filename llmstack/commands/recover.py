"""`llmstack recover`: import what exists at Google but not in a stack's state."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from llmstack.engine import engine_environment
from llmstack.output import console, fail, print_json, print_table
from llmstack.project import find_root, stack_file
from llmstack.recovery.errors import RecoveryError
from llmstack.recovery.recovery import Recovery, Report
from rehearsal.driver import RehearsalError

FOUND = 3
"""Exit code of a dry run that found something to recover."""


def recover(
    stack: Annotated[str, typer.Argument(help="Stack, for instance dev.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what was found; change nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Import what an `up` that was cut off left behind, so that the next one converges.

    Exit codes: 0 nothing is left to recover; 1 it failed, or something in the way is not this stack's;
    2 there is no such stack; 3 a dry run found something.
    """
    root = find_root()
    stack_file(root, stack)
    try:
        recovery = Recovery(stack, engine_environment(root, stack))
        report = recovery.look() if dry_run else recovery.run()
    except (RecoveryError, RehearsalError) as error:
        fail(str(error))
    if as_json:
        print_json({"stack": stack, "resources": [asdict(row) for row in report.rows]})
    else:
        _show(stack, report)
    if report.blocked:
        raise typer.Exit(1)
    if report.open:
        raise typer.Exit(FOUND)


def _show(stack: str, report: Report) -> None:
    if report.rows:
        rows = [(row.name, row.type, row.id, row.state, row.note) for row in report.rows]
        print_table(f"Outside the state of stack {stack}", ("name", "type", "id", "state", "note"), rows)
    console.print(_next(stack, report), markup=False, highlight=False)


def _next(stack: str, report: Report) -> str:
    """What remains to do."""
    if report.open:
        return f"Next: `llmstack recover {stack}`, then `pulumi up --stack {stack}`."
    if any(row.state == "imported" for row in report.rows):
        return f"Next: `pulumi up --stack {stack}`."
    if report.blocked:
        return "Nothing was imported."
    if any(row.state == "removed" for row in report.rows):
        return "Nothing else to do."
    return f"Nothing to recover: stack {stack} knows all that exists of it."
