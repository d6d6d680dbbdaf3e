"""`python -m llmstack.deploy preview|up STACK`: what the workflows run, after Google has let them in."""

from __future__ import annotations

import os
from typing import Annotated

import google.auth
import google.auth.exceptions
import google.auth.transport.requests
import typer

from llmstack.deploy.work import DeployError, RealStack
from llmstack.output import fail
from llmstack.project import find_root, stack_file

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_DRIFT = "somebody changed what is shown above by hand; put it right, or run again without the look for drift"
_RECOVER = (
    "run it again, it goes on where it stopped; what exists without the state's knowing is taken in by "
    "`llmstack recover {stack}`"
)

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
Stack = Annotated[str, typer.Argument(help="Stack, for instance prod.")]


@app.command()
def preview(stack: Stack) -> None:
    """Say what `up` would do to the real stack; changes nothing."""
    _run(stack, "preview", "--diff")


@app.command()
def up(stack: Stack, drift: Annotated[bool, typer.Option(help="Look for drift first.")] = False) -> None:
    """Bring the real stack up."""
    if drift:
        _run(stack, "refresh", "--preview-only", "--expect-no-changes", hint=_DRIFT)
    _run(stack, "up", "--yes", "--skip-preview", docker=True, hint=_RECOVER.format(stack=stack))


def _run(name: str, *arguments: str, docker: bool = False, hint: str = "") -> None:
    root = find_root()
    stack_file(root, name)
    stack = RealStack(root, name, os.environ)
    try:
        stack.check()
        if docker:
            stack.login_docker(_token())
        succeeded = stack.pulumi(*arguments)
    except (DeployError, google.auth.exceptions.GoogleAuthError) as error:
        fail(f"::error::{error}")
    if not succeeded:
        remedy = f": {hint}" if hint else ""
        fail(f"::error::pulumi {arguments[0]} of stack {name} failed, see above{remedy}")


def _token() -> str:
    """An access token of the workflow's identity.

    Raises:
        GoogleAuthError: there is none.
    """
    credentials, _ = google.auth.default(scopes=[_SCOPE])
    credentials.refresh(google.auth.transport.requests.Request())  # type: ignore[no-untyped-call]
    return str(credentials.token)


if __name__ == "__main__":
    app()
