"""A recording engine in memory: every resource that a plan makes, with its inputs, parent and options."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from pulumi.runtime import mocks, rpc
from pulumi.runtime import stack as pulumi_stack

from stacks.config import from_stack_file
from stacks.plan import build_plan
from stacks.plan.types import StackPlan

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Registered:
    """One resource as it was registered."""

    type: str
    name: str
    inputs: dict[str, Any]
    parent: str
    """URN of the parent."""
    dependencies: frozenset[str]
    """URNs it waits for."""
    secrets: frozenset[str]
    """Top-level inputs that were sent as secrets."""


@dataclass
class Recorder(mocks.Mocks):
    """Answers as a cloud would and remembers what was asked."""

    resources: list[Registered] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        outputs = dict(args.inputs)
        if args.typ == "gcp:serviceaccount/account:Account":
            email = f"{args.inputs['accountId']}@p.iam.gserviceaccount.com"
            outputs |= {"email": email, "member": f"serviceAccount:{email}"}
        if args.typ == "docker-build:index:Image":
            outputs |= {"digest": "sha256:" + "a" * 64}
        if args.typ == "gcp:cloudrunv2/service:Service":
            outputs |= {"uri": f"https://{args.name}.example"}
        return f"{args.name}-id", outputs

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[Any, Any], list[tuple[str, str]] | None]:
        self.calls.append(args.token)
        return {}, None

    def of(self, kind: str) -> list[Registered]:
        """The resources of one type token's last part."""
        return [r for r in self.resources if r.type.rsplit(":", 1)[-1] == kind]

    def one(self, kind: str) -> Registered:
        """The only resource of a type."""
        (found,) = self.of(kind)
        return found


class RecordingMonitor(mocks.MockMonitor):
    """Keeps what the plain mocks drop: parents, dependencies, secretness."""

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802 - the protocol's name
        sent = json_format.MessageToDict(request.object)
        recorder = self.mocks
        assert isinstance(recorder, Recorder)
        recorder.resources.append(
            Registered(
                request.type,
                request.name,
                plain(sent),
                request.parent,
                frozenset(request.dependencies),
                frozenset(key for key, value in sent.items() if is_secret(value)),
            )
        )
        return super().RegisterResource(request)


def is_secret(value: Any) -> bool:
    """Whether a serialised value carries the engine's mark of a secret."""
    return isinstance(value, dict) and value.get(rpc._special_sig_key) == rpc._special_secret_sig


def plain(value: Any) -> Any:
    """A serialised value without its marks; whole numbers as int."""
    if is_secret(value):
        return plain(value["value"])
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


Plan = Callable[..., StackPlan]


@pytest.fixture
def plan_of(tmp_path: Path) -> Plan:
    """Make a plan from the text of a stack file's `config:` block."""

    def make(text: str) -> StackPlan:
        path = tmp_path / "Pulumi.test.yaml"
        path.write_text("config:\n" + text, encoding="utf-8")
        return build_plan(from_stack_file(path))

    return make


@pytest.fixture
def run() -> Iterator[Callable[[Callable[[], object]], Recorder]]:
    """Run a program against a recording engine and wait for all of it."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)

    def play(program: Callable[[], object]) -> Recorder:
        recorder = Recorder()
        monitor = RecordingMonitor(recorder)
        mocks.set_mocks(recorder, project="llm", stack="test", preview=False, monitor=monitor)

        async def main() -> None:
            program()

        loop.run_until_complete(pulumi_stack.run_pulumi_func(main))
        return recorder

    yield play
    loop.close()
    asyncio.set_event_loop(None)
