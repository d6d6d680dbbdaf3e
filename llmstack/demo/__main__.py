"""`make demo`: a real `pulumi up` in the rehearsed cloud that ends in an answered prompt."""

from __future__ import annotations

import json
from typing import Annotated

import httpx
import typer
from pulumi import automation

from llmstack.client import AskError
from llmstack.demo.story import Story, say
from llmstack.output import fail
from llmstack.project import find_root
from rehearsal.driver import Rehearsal, RehearsalError

STACK = "local"


def demo(
    keep: Annotated[bool, typer.Option(help="Stop before the destroy.")] = False,
) -> None:
    """Play the demonstration and print its report as one line of JSON, last."""
    root = find_root()
    # A copy of the stack file is worked on, so the switch leaves the checkout as it was.
    rehearsal = Rehearsal(root, STACK, copy=True)
    try:
        with rehearsal.exclusive():
            say("prepare")
            stack = open_stack(rehearsal)
            if cut_off(stack):
                say("an earlier demonstration was cut off: begin anew")
                rehearsal.forget()
                stack = open_stack(rehearsal)
            report = Story(rehearsal, stack).play(keep=keep)
    except (RehearsalError, AskError) as error:
        fail(f"the demonstration stopped: {error}")
    except httpx.HTTPError as error:
        fail(f"the demonstration stopped: the service does not answer: {error or type(error).__name__}")
    except automation.CommandError:
        fail("the demonstration stopped: the engine reported the error above; run make demo again to go on")
    typer.echo(json.dumps(report.as_json(), ensure_ascii=False))
    if report.left:
        raise typer.Exit(1)
    if keep:
        typer.echo(f'kept: eval "$(llmstack env {STACK})"; make clean removes it', err=True)


def open_stack(rehearsal: Rehearsal) -> automation.Stack:
    """The rehearsal's stack, ready for `up`; what a killed run left locked is unlocked."""
    rehearsal.prepare()
    stack = automation.create_or_select_stack(
        stack_name=rehearsal.stack,
        work_dir=str(rehearsal.workdir),
        opts=automation.LocalWorkspaceOptions(
            env_vars=rehearsal.environment(),
            pulumi_command=automation.PulumiCommand(root=str(rehearsal.engine_root())),
        ),
    )
    # This process holds the rehearsal alone, so a lock in its state can only be a dead process's.
    stack.cancel()
    return stack


def cut_off(stack: automation.Stack) -> bool:
    """Whether an engine died at work: the cloud may then hold what the state does not know."""
    return bool((stack.export_stack().deployment or {}).get("pending_operations"))


if __name__ == "__main__":
    typer.run(demo)
