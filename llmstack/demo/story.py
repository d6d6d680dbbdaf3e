"""The demonstration: one stack through its whole life, with the engine's own output."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from pulumi import automation

from llmstack.client import Deployment, identity_token
from llmstack.output import console
from rehearsal.driver import Rehearsal

DEPLOYMENT = "assistant"
FIRST_MODEL = "google/flan-t5-small"
SECOND_MODEL = "gpt2"
MODEL_KEY = f"llm:deployments.{DEPLOYMENT}.model"
PROMPT = "Tell me a joke"
MAX_NEW_TOKENS = 64


@dataclass(frozen=True)
class Step:
    """What one engine operation did, in resources, and how long it took."""

    step: str
    created: int
    updated: int
    replaced: int
    deleted: int
    seconds: float


@dataclass
class Report:
    """The demonstration's result."""

    url: str = ""
    models: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    executions: int = 0
    """Runs of the staging job: one per model, however often it is switched to."""
    hub: str = ""
    left: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The report as plain data."""
        return asdict(self)


class Story:
    """Plays the demonstration on a prepared rehearsal.

    Args:
        rehearsal: a prepared rehearsal of the `local` stack.
        stack: the same stack, opened by the engine's Automation API.
    """

    def __init__(self, rehearsal: Rehearsal, stack: automation.Stack) -> None:
        self.rehearsal = rehearsal
        self.stack = stack
        self.report = Report(hub=rehearsal.hub())

    def play(self, *, keep: bool) -> Report:
        """Bring the stack up, ask, switch the model and back, asking each time; destroy unless `keep`."""
        self._serve("up", FIRST_MODEL)
        self._serve("switch", SECOND_MODEL)
        self._serve("switch back", FIRST_MODEL)
        self.report.executions = self.rehearsal.executions()
        if not keep:
            self._destroy()
        return self.report

    def _serve(self, step: str, model: str) -> None:
        say(f"{step}: {model}")
        self.stack.set_config(MODEL_KEY, automation.ConfigValue(model), path=True)
        self._timed(step, lambda: self.stack.up(on_output=echo).summary.resource_changes or {})
        self.report.url = self.stack.outputs()["urls"].value[DEPLOYMENT]
        self.report.models.append(model)
        self.report.answers.append(self._ask())

    def _ask(self) -> str:
        url = self.report.url.rstrip("/")
        say(f"ask {url}")
        console.print(f"> {PROMPT}", markup=False)
        deployment = Deployment(url, identity_token(url, self.rehearsal.environment()))
        pieces = []
        for piece in deployment.stream(PROMPT, MAX_NEW_TOKENS):
            console.print(piece, end="", markup=False, highlight=False)
            pieces.append(piece)
        console.print()
        return "".join(pieces)

    def _destroy(self) -> None:
        say("destroy")
        self._timed("destroy", lambda: self.stack.destroy(on_output=echo).summary.resource_changes or {})
        self.rehearsal.down()
        self.report.left = self.rehearsal.leftovers()
        say("left over: " + ("; ".join(self.report.left) or "no resource, no object, no process"))

    def _timed(self, step: str, operation: Callable[[], Any]) -> None:
        began = time.monotonic()
        changes = operation()
        self.report.steps.append(
            Step(
                step=step,
                created=changes.get("create", 0),
                updated=changes.get("update", 0),
                replaced=changes.get("replace", 0),
                deleted=changes.get("delete", 0),
                seconds=round(time.monotonic() - began, 1),
            )
        )


def say(text: str) -> None:
    """Announce a part of the story."""
    console.rule(f"[bold]{text}", align="left")


def echo(line: str) -> None:
    """Show a line of the engine's output as it is."""
    console.print(line.rstrip("\n"), markup=False, highlight=False, soft_wrap=True)
