"""A stack of a test in its own rehearsed cloud, driven by the real engine."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pulumi import automation
from pulumi.automation.events import EngineEvent

from rehearsal.driver import Rehearsal
from rehearsal.world import World

CHECKOUT = Path(__file__).parents[2]
LINKS = ("__main__.py", "images", "llmstack", "providers", "rehearsal", "stacks", ".venv", ".engine")
STACK = "test"


@dataclass(frozen=True)
class Step:
    """What the engine did with one resource."""

    op: str
    type: str
    name: str
    diffs: frozenset[str]
    """Property paths that made the difference."""


@dataclass
class Result:
    """How an operation of the engine ended."""

    steps: list[Step] = field(default_factory=list)
    output: str = ""
    failed: bool = False

    def changed(self) -> dict[str, str]:
        """Operation by resource name, for every resource that was not left as it is."""
        return {step.name: step.op for step in self.steps if step.op not in ("same", "read", "refresh")}

    def of(self, name: str) -> Step:
        """The step of one resource."""
        (found,) = [step for step in self.steps if step.name == name]
        return found


def make_project(folder: Path, config: str) -> Path:
    """A folder that is the checkout, but for its stack file."""
    folder.mkdir()
    for link in LINKS:
        (folder / link).symlink_to(CHECKOUT / link)
    (folder / "Pulumi.yaml").write_text((CHECKOUT / "Pulumi.yaml").read_text(encoding="utf-8"))
    (folder / f"Pulumi.{STACK}.yaml").write_text("config:\n" + config, encoding="utf-8")
    return folder


class Lab:
    """One stack: its project, its rehearsal, its engine.

    Args:
        root: a folder made by `make_project`.
        services: start the services' containers; without it they only get an address. Jobs always run.
        runner: how the services run, `process` or `docker`. Jobs run as the caller's LLMSTACK_RUNNER says.
    """

    def __init__(self, root: Path, *, services: bool = False, runner: str = "process") -> None:
        self.root = root
        self.rehearsal = Rehearsal(root, STACK)
        self.rehearsal.prepare()
        self.rehearsal.hub()
        chosen = runner if services else "none"
        self.variables = {**self.rehearsal.environment(), "LLMSTACK_RUNNER": chosen}
        self.stack = automation.create_or_select_stack(
            stack_name=STACK,
            work_dir=str(self.rehearsal.workdir),
            opts=automation.LocalWorkspaceOptions(
                env_vars=self.variables,
                pulumi_command=automation.PulumiCommand(root=str(self.rehearsal.engine_root())),
            ),
        )

    def up(self, parallel: int | None = None) -> Result:
        """`pulumi up`; with `parallel` 1, one call at a time."""
        return self._run(partial(self.stack.up, parallel=parallel))

    def preview(self) -> Result:
        """`pulumi preview`."""
        return self._run(self.stack.preview)

    def refresh(self) -> Result:
        """`pulumi refresh`."""
        return self._run(self.stack.refresh)

    def destroy(self) -> Result:
        """`pulumi destroy`."""
        return self._run(self.stack.destroy)

    def set(self, path: str, value: str) -> None:
        """`pulumi config set --path`."""
        self.stack.set_config(path, automation.ConfigValue(value), path=True)

    def outputs(self) -> dict[str, Any]:
        """The stack's outputs."""
        return {key: output.value for key, output in self.stack.outputs().items()}

    def state(self) -> str:
        """The exported state, as the backend keeps it (secrets encrypted)."""
        return self.pulumi("stack", "export", "--stack", STACK).stdout

    def pulumi(
        self, *arguments: str, check: bool = True, folder: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the engine's own command by hand."""
        return subprocess.run(
            ["pulumi", *arguments, "--non-interactive"],
            cwd=folder or self.rehearsal.workdir,
            env={**os.environ, **self.variables},
            capture_output=True,
            text=True,
            timeout=300,
            check=check,
        )

    def config(self, text: str) -> None:
        """Replace the stack file's `config:` block."""
        (self.root / f"Pulumi.{STACK}.yaml").write_text("config:\n" + text, encoding="utf-8")

    def world(self) -> World:
        """The rehearsed cloud's memory."""
        return World(self.rehearsal.folder)

    def executions(self) -> int:
        """How often a staging job has run."""
        return self.rehearsal.executions()

    def names(self, kind: str) -> list[str]:
        """Names of the resources of one kind in the world."""
        return [record.name for record in self.world().list(kind)]

    def _run(self, operation: Any) -> Result:
        result, output, steps = Result(), list[str](), dict[str, Step]()

        def on_event(event: EngineEvent) -> None:
            # A refresh says what it found only in its outputs.
            found = event.resource_pre_event or event.res_outputs_event
            if found is not None:
                meta = found.metadata
                kind, name = meta.urn.split("::")[2].split("$")[-1], meta.urn.split("::")[3]
                diffs = frozenset((meta.detailed_diff or {}).keys())
                steps[meta.urn + str(meta.op)] = Step(str(meta.op.value), kind, name, diffs)

        try:
            operation(on_output=output.append, on_event=on_event)
        except automation.CommandError as error:
            result.failed = True
            output.append(str(error))
        result.steps = list(steps.values())
        result.output = "\n".join(output)
        return result


def without_components(changed: dict[str, str], names: Sequence[str] = ("llm-test",)) -> dict[str, str]:
    """The changes of real resources; the stack's own step tells nothing."""
    return {name: op for name, op in changed.items() if name not in names}


def find_in_files(folder: Path, needle: str) -> list[Path]:
    """The files below `folder` that hold `needle`."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and needle.encode() in path.read_bytes():
            found.append(path)
    return found


def read_json(text: str) -> Any:
    """Parse JSON, for a command's output."""
    return json.loads(text)
