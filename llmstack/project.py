"""Where the project is, and its stack files."""

from __future__ import annotations

from pathlib import Path

from llmstack.output import fail
from stacks.config import ConfigError, from_stack_file
from stacks.plan import build_plan
from stacks.plan.types import StackPlan


def find_root() -> Path:
    """The folder of this project: the working directory or the nearest one above it with its `Pulumi.yaml`.

    Raises:
        typer.Exit: outside a checkout.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "Pulumi.yaml").is_file() and (folder / "stacks").is_dir():
            return folder
    return fail(f"{here} is not inside a checkout of this project: change into one", 2)


def stack_file(root: Path, stack: str) -> Path:
    """The file of `stack`.

    Raises:
        typer.Exit: when there is none; the message lists those there are.
    """
    path = root / f"Pulumi.{stack}.yaml"
    files = {found.name for found in root.glob("Pulumi.*.yaml")}
    # Compared and not opened: a name may be a path, or longer than any file's.
    if f"Pulumi.{stack}.yaml" not in files:
        stacks = sorted(name.removeprefix("Pulumi.").removesuffix(".yaml") for name in files)
        known = ", ".join(stacks) or "none"
        fail(f"there is no stack {stack!r}: {path.name} does not exist (stacks here: {known})", 2)
    return path


def load_plan(root: Path, stack: str) -> StackPlan:
    """The plan of a stack file.

    Raises:
        typer.Exit: with every problem of the configuration, when it has any.
    """
    try:
        return build_plan(from_stack_file(stack_file(root, stack)))
    except ConfigError as error:
        fail(str(error))
