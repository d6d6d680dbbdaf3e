"""The real engine at work on one rehearsed stack: each operation with its changes, errors and duration."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pulumi import automation

from llmstack.rehearse.changes import Watcher
from llmstack.rehearse.report import TEXT_LIMIT, Change, Figure, clipped
from rehearsal.driver import Rehearsal

Say = Callable[[str], None]
"""Tells a person what happens, one line at a time."""


@dataclass(frozen=True)
class Outcome:
    """How an operation ended."""

    failed: bool
    changes: tuple[Change, ...]
    errors: str


class Engine:
    """Runs the engine on a rehearsal and keeps the figures.

    Args:
        rehearsal: a prepared rehearsal.
        say: told the beginning of each operation.
    """

    def __init__(self, rehearsal: Rehearsal, say: Say) -> None:
        self._rehearsal = rehearsal
        self._say = say
        self.figures: list[Figure] = []

    def open(self, folder: Path) -> automation.Stack:
        """The rehearsal's stack, as the project in `folder` has it."""
        return automation.create_or_select_stack(
            stack_name=self._rehearsal.stack,
            work_dir=str(folder),
            opts=automation.LocalWorkspaceOptions(
                env_vars=self._rehearsal.environment(),
                pulumi_command=automation.PulumiCommand(root=str(self._rehearsal.engine_root())),
            ),
        )

    def run(self, step: str, operation: Callable[..., Any]) -> Outcome:
        """Run one operation of a stack.

        Args:
            step: what a person reads, for instance `up`.
            operation: a method of `automation.Stack`.
        """
        self._say(step)
        watcher, began, said = Watcher(), time.monotonic(), ""
        try:
            operation(on_event=watcher.on_event)
        except automation.CommandError as error:
            # Where the engine itself refuses there is no diagnostic, only what it printed.
            said = watcher.errors or str(error)
        changes = watcher.changes()
        count = Counter(change.op for change in changes)
        self.figures.append(
            Figure(
                step=step,
                create=count["create"],
                update=count["update"],
                replace=count["replace"],
                delete=count["delete"],
                seconds=round(time.monotonic() - began, 1),
            )
        )
        return Outcome(bool(said), changes, clipped(said, TEXT_LIMIT))
