"""`python -m llmstack.pull_request --results DIR`: the comment on a pull request, or the summary of a run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from llmstack.output import fail
from llmstack.pull_request.comment import MARKER, comment
from llmstack.pull_request.github import API, ForbiddenError, GitHub, GitHubError
from llmstack.pull_request.results import read_results

SUMMARY_LIMIT = 1_000_000
"""Characters of a run's summary: GitHub takes 1 MiB a step. Source: its page on workflow commands."""


def main(
    results: Annotated[Path, typer.Option(help="Folder with the reports, STACK.json each.")],
    pr: Annotated[int | None, typer.Option(help="Number of the pull request; default: the event's.")] = None,
    repo: Annotated[str, typer.Option(envvar="GITHUB_REPOSITORY", help="OWNER/NAME of the repository.")] = "",
    head: Annotated[str, typer.Option(help="Commit that must be the pull request's head.")] = "",
    summary: Annotated[bool, typer.Option(help="Write the run's summary only; needs no token.")] = False,
) -> None:
    """Post or update the one comment on a pull request.

    The token is GITHUB_TOKEN. In a `workflow_run` the pull request is looked up by the commit that ran.
    """
    found = read_results(results)

    def text(commit: str, limit: int | None = None) -> str:
        limits = {} if limit is None else {"limit": limit}
        return comment(found.reports, found.unreadable, commit, **limits)

    if summary:
        _summarise(text(head, SUMMARY_LIMIT))
        return
    token = os.environ.get("GITHUB_TOKEN", "")
    if not repo or not token:
        fail("--repo (or GITHUB_REPOSITORY) and GITHUB_TOKEN are needed to write a comment", 2)
    github = GitHub(repo, token, os.environ.get("GITHUB_API_URL", API))
    try:
        number, commit = (pr, head) if pr is not None else _of_event(github, repo)
        if number is None:
            typer.echo("no open pull request has this commit at its head any more: nothing to say")
            return
        if commit and github.head_of(number) != commit:
            typer.echo(f"pull request {number} has newer commits than {commit[:12]}: nothing to say")
            return
        _post(github, number, text(commit))
    except ForbiddenError as error:
        typer.echo(f"::notice::{error}; the text stands in this run's summary")
        _summarise(text(head, SUMMARY_LIMIT))
    except GitHubError as error:
        fail(str(error))
    except httpx.HTTPError as error:
        fail(f"GitHub cannot be reached: {error or type(error).__name__}")
    finally:
        github.close()


def _post(github: GitHub, number: int, text: str) -> None:
    present = github.find_comment(number, MARKER)
    if present is None:
        github.create_comment(number, text)
    else:
        github.update_comment(present, text)
    typer.echo(f"the comment on pull request {number} is {'written' if present is None else 'updated'}")


def _of_event(github: GitHub, repository: str) -> tuple[int | None, str]:
    """Number and head of the pull request that the event is about; nothing of it comes from an artifact."""
    event = _event()
    if "pull_request" in event:
        return int(event["pull_request"]["number"]), str(event["pull_request"]["head"]["sha"])
    run = event.get("workflow_run")
    if not run or not run.get("head_repository"):
        fail("this event is about no pull request: give --pr", 2)
    commit = str(run["head_sha"])
    owner, branch = run["head_repository"]["owner"]["login"], run["head_branch"]
    for found in github.open_pull_requests(owner, branch):
        same = found["head"]["sha"] == commit and found["base"]["repo"]["full_name"] == repository
        # A fork that is gone leaves no repository behind.
        of = (found["head"]["repo"] or {}).get("full_name")
        if same and of == run["head_repository"]["full_name"]:
            return int(found["number"]), commit
    return None, commit


def _event() -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_text(encoding="utf-8"))
    except (KeyError, FileNotFoundError):
        fail("there is no event to read: give --pr", 2)
    return found


def _summarise(text: str) -> None:
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if path is None:
        typer.echo(text)
        return
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(text)


if __name__ == "__main__":
    typer.run(main)
