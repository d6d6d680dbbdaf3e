"""`llmstack env` and `llmstack down`: begin and end work by hand in the rehearsed cloud."""

from __future__ import annotations

from typing import Annotated

import typer

from llmstack.output import fail, print_json
from llmstack.project import find_root, stack_file
from rehearsal.driver import Rehearsal, RehearsalError
from rehearsal.given import put_given
from rehearsal.world import World
from stacks.config import ConfigError, from_stack_file
from stacks.plan import build_plan

Stack = Annotated[str, typer.Argument(help="Stack, for instance local.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document.")]


def env(stack: Stack, as_json: AsJson = False) -> None:
    """Print the environment in which `pulumi` works on a stack's rehearsal: eval "$(llmstack env local)"."""
    root = find_root()
    stack_file(root, stack)
    try:
        rehearsal = Rehearsal(root, stack)
        rehearsal.prepare()
        _put_given(rehearsal)
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


def _put_given(rehearsal: Rehearsal) -> None:
    """Put what the stack takes for granted into its rehearsed cloud, for instance the secret with a token."""
    try:
        plan = build_plan(from_stack_file(rehearsal.stack_file()))
    except ConfigError:
        # A stack file may still be in the making; `pulumi preview` tells every fault of it.
        return
    world = World(rehearsal.folder)
    put_given(world, plan)
    world.close()
