"""`llmstack env` and `llmstack down`: begin and end work by hand in the rehearsed cloud."""

from __future__ import annotations

from typing import Annotated

import typer

from llmstack.output import fail, print_json
from llmstack.project import find_root, stack_file
from rehearsal.driver import Rehearsal, RehearsalError

Stack = Annotated[str, typer.Argument(help="Stack, for instance local.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document.")]


def env(stack: Stack, as_json: AsJson = False) -> None:
    """Print the environment in which `pulumi` works on a stack's rehearsal: eval "$(llmstack env local)"."""
    root = find_root()
    stack_file(root, stack)
    try:
        rehearsal = Rehearsal(root, stack)
        rehearsal.prepare()
        rehearsal.hub()
        rehearsal.ensure_stack()
    except RehearsalError as error:
        fail(str(error))
    if as_json:
        print_json({"folder": str(rehearsal.workdir), "environment": rehearsal.environment()})
    else:
        typer.echo(rehearsal.shell())


def down(stack: Stack, as_json: AsJson = False) -> None:
    """Stop every process of a stack's rehearsal; its state stays, and the next command starts them again."""
    root = find_root()
    stack_file(root, stack)
    rehearsal = Rehearsal(root, stack)
    try:
        rehearsal.down()
    except RehearsalError as error:
        fail(str(error))
    if as_json:
        print_json({"stack": stack, "left": rehearsal.leftovers()})
