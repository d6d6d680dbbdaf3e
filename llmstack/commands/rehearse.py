"""`llmstack rehearse`: a stack's dress rehearsal, without an account and without containers."""

from __future__ import annotations

import signal
from contextlib import nullcontext
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from llmstack.output import INTERRUPTED, console, errors, fail, gib, print_json, print_table
from llmstack.project import find_root, stack_file
from llmstack.pull_request.comment import comment
from llmstack.rehearse.ambient import without_credentials
from llmstack.rehearse.base import BaseError, base_version
from llmstack.rehearse.play import DressRehearsal
from llmstack.rehearse.report import Report
from rehearsal.driver import RehearsalError


def rehearse(
    stack: Annotated[str, typer.Argument(help="Stack, for instance prod.")],
    base: Annotated[
        str | None, typer.Option(help="What the change is compared with: a folder, or a commit for git.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
    markdown: Annotated[Path | None, typer.Option(help="File that gets the report as Markdown.")] = None,
    keep: Annotated[
        bool, typer.Option(help="Stop before the destroy and leave the rehearsal's folder.")
    ] = False,
) -> None:
    """Rehearse a change of a stack, from the base version to its destroy, in a cloud that is thrown away."""
    root = find_root()
    stack_file(root, stack)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with without_credentials(), base_version(root, base) if base else nullcontext() as before:
            rehearsal = DressRehearsal(root, stack, before, keep=keep, say=_say)
            report = rehearsal.play()
    except (BaseError, RehearsalError) as error:
        fail(f"stack {stack} cannot be rehearsed: {error}", 2)
    except KeyboardInterrupt:
        fail("the rehearsal was interrupted; its folder is removed", INTERRUPTED)
    if markdown is not None:
        markdown.write_text(comment([report]), encoding="utf-8")
    if as_json:
        print_json(report.model_dump(mode="json", by_alias=True))
    else:
        _show(report)
    if keep:
        errors.print(f"kept: {rehearsal.rehearsal.folder}", markup=False, soft_wrap=True)
    if not report.passed:
        raise typer.Exit(1)


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    """Let a workflow's cancellation clean up as Ctrl-C does."""
    raise KeyboardInterrupt


def _say(line: str) -> None:
    errors.print(f"rehearse: {line}", markup=False, highlight=False, soft_wrap=True)


def _show(report: Report) -> None:
    for change in report.changes:
        if change.loses_data:
            console.print(f"[bold red]{change.op.upper()}[/] ", end="")
            console.print(f"{change.name}: {change.holds} will be lost", markup=False, style="bold red")
    rows = [
        (change.op, change.name, change.type, ", ".join(prop.path for prop in change.properties))
        for change in report.changes
    ]
    print_table(f"Stack {report.stack} against {report.base}", ("", "resource", "type", "changes"), rows)
    sizes = [
        (each.name, each.model, each.machine, gib(each.need_bytes), gib(each.have_bytes))
        for each in report.deployments
    ]
    print_table("Deployments", ("deployment", "model", "machine", "needs", "has"), sizes)
    figures = [
        (each.step, each.create, each.update, each.replace, each.delete, f"{each.seconds:.1f} s")
        for each in report.figures
    ]
    columns = ("containers stubbed", "create", "update", "replace", "delete", "took")
    print_table("The engine's work", columns, figures)
    for warning in report.warnings:
        console.print(f"warning: {warning}", markup=False)
    for check in report.checks:
        detail = f": {check.detail}" if check.detail else ""
        console.print(f"{'ok' if check.passed else 'FAILED'}: {check.name}{detail}", markup=False)
