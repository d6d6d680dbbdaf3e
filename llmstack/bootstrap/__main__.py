"""`scripts/bootstrap PROJECT`: prepares a Google Cloud project for the GitHub workflows."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from llmstack.bootstrap.errors import BootstrapError, UsageError
from llmstack.bootstrap.google import Google
from llmstack.bootstrap.run import Outcome, prepare
from llmstack.bootstrap.steps import Found
from llmstack.bootstrap.target import Target, parse_target, repository_of
from llmstack.output import fail, print_json

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def bootstrap(
    project: Annotated[str, typer.Argument(help="ID of the Google Cloud project.")],
    repository: Annotated[
        str | None,
        typer.Option(help="GitHub repository, OWNER/NAME; default: this checkout's remote origin."),
    ] = None,
    region: Annotated[str, typer.Option(help="Where the state bucket and the key are.")] = "us-central1",
    repository_id: Annotated[str | None, typer.Option(help="GitHub's number of the repository.")] = None,
    owner_id: Annotated[str | None, typer.Option(help="GitHub's number of its owner.")] = None,
    environment: Annotated[
        list[str] | None, typer.Option(help="Print the variables for this GitHub environment; repeatable.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done; only read.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Prepare a project so that a repository's workflows can deploy into it. Run it as often as you like."""
    try:
        target = parse_target(
            project, repository or repository_of(Path.cwd()), region, repository_id, owner_id
        )
        outcome = prepare(Google(read_only=dry_run), target, None if as_json else _shower(dry_run))
    except UsageError as error:
        fail(f"bootstrap: {error}", 2)
    except BootstrapError as error:
        fail(f"bootstrap: {error}")
    if as_json:
        print_json(_document(target, outcome, dry_run))
    else:
        _print_end(target, outcome, dry_run, environment or [])


def _shower(dry_run: bool) -> Any:
    mark = "would " if dry_run else "done: "

    def show(name: str, found: Found) -> None:
        for change in found.changes:
            typer.echo(f"{mark}{change.text}")
        if not found.changes:
            typer.echo(f"ok: {name}")
        for note in found.notes:
            typer.echo(f"note: {note}")

    return show


def _print_end(target: Target, outcome: Outcome, dry_run: bool, environments: list[str]) -> None:
    count = len(outcome.changes)
    if count == 0:
        typer.echo("nothing to do")
    else:
        end = " to make; nothing was written" if dry_run else ""
        typer.echo(f"{count} {'change' if count == 1 else 'changes'}{end}")
    typer.echo(f"\nThe workflows of {target.repository} read these variables:")
    # A stack's preview runs in an environment of its own, which needs nobody's approval.
    scopes = [["--env", name] for given in environments for name in (given, f"{given}-preview")] or [[]]
    for scope in scopes:
        for name, value in target.variables(outcome.number).items():
            words = ["gh", "variable", "set", name, "--repo", target.repository, *scope, "--body", value]
            typer.echo(shlex.join(words))


def _document(target: Target, outcome: Outcome, dry_run: bool) -> dict[str, Any]:
    return {
        "project": target.project,
        "repository": target.repository,
        "region": target.region,
        "dryRun": dry_run,
        "changes": outcome.changes,
        "notes": outcome.notes,
        "variables": target.variables(outcome.number),
    }


if __name__ == "__main__":
    app(prog_name="scripts/bootstrap")
