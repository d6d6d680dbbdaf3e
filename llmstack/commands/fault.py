"""`llmstack fault`: make the rehearsed cloud fail, as Google does."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from llmstack.output import console, fail, print_json, print_table
from llmstack.project import find_root, stack_file
from rehearsal.driver import Rehearsal
from rehearsal.world import Fault, World
from rehearsal.world_faults import KINDS


def fault(
    stack: Annotated[str, typer.Argument(help="Stack, for instance local.")],
    kind: Annotated[str | None, typer.Argument(help=f"One of {', '.join(KINDS)}.")] = None,
    provider: Annotated[
        str, typer.Option("--type", help="Type token or API; a shell pattern, for instance *:Bucket.")
    ] = "*",
    operation: Annotated[
        str, typer.Option(help="create, read, update, delete, or an API's method; a shell pattern.")
    ] = "*",
    target: Annotated[str, typer.Option(help="Full resource name; a shell pattern.")] = "*",
    nth: Annotated[int, typer.Option(min=1, help="The first matching call that it strikes.")] = 1,
    times: Annotated[int, typer.Option(min=1, help="How many calls in a row it strikes.")] = 1,
    seconds: Annotated[float, typer.Option(min=0, help="How long slow and late take.")] = 0.0,
    listed: Annotated[bool, typer.Option("--list", help="Show what is injected and what it struck.")] = False,
    clear: Annotated[bool, typer.Option("--clear", help="Remove every fault.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Inject a fault into a stack's rehearsed cloud; never into a real one. docs/faults.md explains them."""
    if [kind is not None, listed, clear].count(True) != 1:
        fail("say what to do: a KIND, --list or --clear", 2)
    wanted = None if kind is None else _checked(kind, provider, operation, target, nth, times, seconds)
    root = find_root()
    stack_file(root, stack)
    folder = Rehearsal(root, stack).folder
    if not folder.is_dir():
        fail(f"stack {stack} has no rehearsal yet: run `llmstack env {stack}` first")
    world = World(folder)
    if clear:
        world.faults.clear()
    if wanted is not None:
        world.faults.add(wanted)
    _show(world, as_json)


def _checked(
    kind: str, provider: str, operation: str, target: str, nth: int, times: int, seconds: float
) -> Fault:
    try:
        return Fault(kind, provider, operation, target, nth, times, seconds)
    except ValueError as error:
        fail(str(error), 2)


def _show(world: World, as_json: bool) -> None:
    active = world.faults.active()
    struck = [call for call in world.calls() if call.outcome in KINDS]
    if as_json:
        print_json({"faults": [asdict(each) for each in active], "struck": [asdict(each) for each in struck]})
        return
    columns = ("kind", "type", "operation", "target", "nth", "times", "seconds")
    rows = [
        (each.kind, each.provider, each.operation, each.target, each.nth, each.times, each.seconds)
        for each in active
    ]
    if not rows:
        console.print("no faults")
    else:
        print_table("Faults", columns, rows)
    if struck:
        print_table(
            "Struck",
            ("at", "kind", "type", "operation", "target"),
            [(each.at, each.outcome, each.provider, each.operation, each.target) for each in struck],
        )
