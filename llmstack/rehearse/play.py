"""Plays a stack's dress rehearsal: the base version, the change, a second look, the end."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from pulumi import automation

from llmstack.rehearse.base import Base
from llmstack.rehearse.changes import named
from llmstack.rehearse.engine import Engine, Outcome, Say
from llmstack.rehearse.report import (
    LINE_LIMIT,
    TEXT_LIMIT,
    Change,
    Check,
    DeploymentFigure,
    Report,
    clipped,
)
from rehearsal import driver_stack
from rehearsal.driver import Rehearsal
from rehearsal.given import put_given
from rehearsal.world import World
from stacks.config import ConfigError, from_stack_file
from stacks.plan import build_plan
from stacks.plan.types import StackPlan

_ENVIRONMENT_KEY = "llm:environment"
_UNPROTECTED = "dev"
"""The profile that a protected stack gets at the end, in its copy only: so a person would take it down."""
_NOTHING = "nothing: no base was given"


class DressRehearsal:
    """One stack's rehearsal in a folder of its own.

    Args:
        root: the working tree, whose stack is rehearsed.
        stack: its name; the stack file must exist.
        base: what the change is compared with; None: nothing.
        keep: stop before the destroy and leave the folder.
        say: told what happens, one line at a time.
    """

    def __init__(self, root: Path, stack: str, base: Base | None, *, keep: bool, say: Say) -> None:
        folder = Path(tempfile.mkdtemp(prefix=f"llmstack-rehearse-{stack}-"))
        self.rehearsal = Rehearsal(root, stack, folder, copy=True)
        self._base = base
        self._keep = keep
        self._say = say
        self._engine = Engine(self.rehearsal, say)
        self._checks: list[Check] = []
        self._changes: tuple[Change, ...] = ()
        self._compared = _NOTHING
        self._given: list[str] = []

    def play(self) -> Report:
        """Run every step, or as many as succeed.

        Raises:
            RehearsalError: no rehearsed cloud can be made here; that says nothing about the stack.
        """
        try:
            plan = self._plan()
            if plan is not None:
                self._prepare(plan)
                self._play_base(plan)
                self._play_change(plan)
        finally:
            self._end()
        return self._report(plan)

    def _plan(self) -> StackPlan | None:
        """The plan of the change; None where its configuration is wrong."""
        try:
            plan = build_plan(from_stack_file(self.rehearsal.root / f"Pulumi.{self.rehearsal.stack}.yaml"))
        except ConfigError as error:
            self._check("configuration", False, str(error))
            return None
        self._check("configuration", True)
        return plan

    def _prepare(self, plan: StackPlan) -> None:
        self.rehearsal.prepare()
        world = World(self.rehearsal.folder)
        self._given = put_given(world, plan)
        world.close()

    def _play_base(self, plan: StackPlan) -> None:
        """Bring the stack to where it is now, as far as the base version can."""
        if self._base is None:
            return
        source = self._base.stack_file(self.rehearsal.stack)
        if source is None:
            self._compared = f"nothing: the stack is new, {self._base.label} does not have it"
            return
        with suppress(ConfigError):
            world = World(self.rehearsal.folder)
            self._given += put_given(world, build_plan(from_stack_file(source)))
            world.close()
        folder = self.rehearsal.folder / "base"
        driver_stack.copy_project(self._base.root, source, folder)
        found = self._engine.run(f"up of {self._base.label}", self._engine.open(folder).up)
        if not found.failed:
            self._compared = self._base.label
            return
        # The base is not what is judged here: without it every resource of the change is new.
        reason = clipped(" ".join(found.errors.split()), 150)
        self._compared = f"nothing: {self._base.label} does not come up here: {reason}"
        self.rehearsal.forget()
        self._prepare(plan)

    def _play_change(self, plan: StackPlan) -> None:
        stack = self._engine.open(self.rehearsal.workdir)
        preview = self._engine.run("preview", stack.preview)
        self._changes = preview.changes
        if not self._succeeded("preview", preview) or not self._succeeded("up", self._run("up", stack.up)):
            return
        again = self._run("second preview", stack.preview)
        if self._succeeded("second preview", again):
            self._check("second preview is empty", not again.changes, named(again.changes))
        if not self._keep:
            self._destroy(stack, plan)

    def _destroy(self, stack: automation.Stack, plan: StackPlan) -> None:
        if plan.foundation.deletion_protection:
            self._try_protection(stack)
            self._say(f"{_ENVIRONMENT_KEY} becomes {_UNPROTECTED} in the copy, to take the stack down")
            stack.set_config(_ENVIRONMENT_KEY, automation.ConfigValue(_UNPROTECTED))
            if not self._succeeded("unprotect", self._run("up without protection", stack.up)):
                return
        if self._succeeded("destroy", self._run("destroy", stack.destroy)):
            self.rehearsal.down()
            left = [name for name in self.rehearsal.leftovers() if name not in self._given]
            self._check("nothing is left over", not left, "; ".join(left))

    def _try_protection(self, stack: automation.Stack) -> None:
        """Destroy what is protected, as somebody would by mistake: it must fail, and take nothing."""
        before = self._standing()
        blocked = self._run("preview of a destroy", stack.preview_destroy)
        if not blocked.failed:
            blocked = self._run("destroy of the protected stack", stack.destroy)
        gone = sorted(before - self._standing())
        if not blocked.failed:
            detail = "destroy took what is protected"
        elif gone:
            detail = f"destroy failed, but took {', '.join(gone)}"
        else:
            detail = "protected, as configured"
        self._check("destroy is blocked", blocked.failed and not gone, detail)

    def _standing(self) -> set[str]:
        """What there is in the rehearsed cloud."""
        world = World(self.rehearsal.folder)
        found = {record.name for record in world.list()}
        world.close()
        return found

    def _end(self) -> None:
        self.rehearsal.down()
        if not self._keep:
            shutil.rmtree(self.rehearsal.folder, ignore_errors=True)

    def _run(self, step: str, operation: Any) -> Outcome:
        return self._engine.run(step, operation)

    def _succeeded(self, name: str, outcome: Outcome) -> bool:
        self._check(name, not outcome.failed, outcome.errors)
        return not outcome.failed

    def _check(self, name: str, passed: bool, detail: str = "") -> None:
        # The throw-away folder means nothing to who reads the report.
        shown = detail.replace(str(self.rehearsal.folder), "FOLDER")
        self._checks.append(Check(name=name, passed=passed, detail=clipped(shown, TEXT_LIMIT)))

    def _report(self, plan: StackPlan | None) -> Report:
        return Report(
            stack=self.rehearsal.stack,
            environment=plan.profile.name if plan else "",
            project=plan.foundation.project if plan else "",
            base=self._compared,
            changes=self._changes,
            warnings=tuple(clipped(warning, LINE_LIMIT) for warning in plan.warnings) if plan else (),
            deployments=_deployments(plan) if plan else (),
            checks=tuple(self._checks),
            figures=tuple(self._engine.figures),
        )


def _deployments(plan: StackPlan) -> tuple[DeploymentFigure, ...]:
    return tuple(
        DeploymentFigure(
            name=name,
            topology=deployment.topology,
            model=deployment.model,
            machine=deployment.sizing.machine,
            need_bytes=deployment.sizing.need_bytes,
            have_bytes=deployment.sizing.have_bytes,
        )
        for name, deployment in plan.deployments.items()
    )
