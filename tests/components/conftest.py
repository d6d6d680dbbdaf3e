"""A recording engine in memory: every resource that a plan makes, with its inputs, parent and options."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pulumi
import pytest
from google.protobuf import json_format
from pulumi.runtime import mocks, rpc
from pulumi.runtime import stack as pulumi_stack
from pulumi.runtime.settings import get_root_resource, reset_options

from stacks.config import from_stack_file
from stacks.plan import build_plan
from stacks.plan.types import StackPlan

ROOT = Path(__file__).parents[2]
UNKNOWN = rpc.UNKNOWN
"""How the protocol writes what only a deployment can tell."""


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
    provider: str = ""
    """URN of the provider, and its id."""
    ignored: tuple[str, ...] = ()
    """Inputs of which changes are ignored."""
    replaced_with: frozenset[str] = frozenset()
    """URNs with whose replacement it is replaced."""
    timeouts: tuple[str, str] = ("", "")
    """How long the engine waits for a creation and for an update."""
    deleted_first: bool = False
    """Whether a replacement is made only when the old one is gone."""


@dataclass
class Recorder(mocks.Mocks):
    """Answers as a cloud would and remembers what was asked."""

    resources: list[Registered] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    preview: bool = False
    """As in a first preview: what a cluster's address will be, nobody knows."""
    outputs: dict[str, Any] = field(default_factory=dict)
    """What the program exported."""

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        outputs = dict(args.inputs)
        if args.typ == "gcp:serviceaccount/account:Account":
            email = f"{args.inputs['accountId']}@p.iam.gserviceaccount.com"
            outputs |= {"email": email, "member": f"serviceAccount:{email}"}
        if args.typ == "docker-build:index:Image":
            outputs |= {"digest": "sha256:" + "a" * 64}
        if args.typ == "gcp:cloudrunv2/service:Service":
            outputs |= {"uri": f"https://{args.name}.example"}
        if args.typ == "gcp:storage/bucket:Bucket":
            outputs |= {"projectNumber": UNKNOWN if self.preview else 123456789012}
        if args.typ == "gcp:vertex/aiEndpoint:AiEndpoint":
            host = f"{args.inputs['name']}.europe-west4-123456789012.prediction.vertexai.goog"
            outputs |= {"dedicatedEndpointDns": host if args.inputs.get("dedicatedEndpointEnabled") else ""}
        if args.typ == "modelops:vertex:Model":
            outputs |= {"versionResourceName": f"projects/p/locations/l/models/{args.inputs['modelId']}@1"}
        if args.typ == "gcp:container/cluster:Cluster":
            outputs |= self._cluster(args.inputs)
        if args.typ == "kubernetes:core/v1:Service" and not self.preview:
            outputs |= {"status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.9"}]}}}
        if self.preview:
            return "", outputs
        return f"{args.name}-id", outputs

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[Any, Any], list[tuple[str, str]] | None]:
        self.calls.append(args.token)
        return {}, None

    def _cluster(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """What Google adds: addresses and certificates; the key beside them is a secret."""
        config = inputs["controlPlaneEndpointsConfig"]
        # A preview shows the section as it was given, without what Google adds to it.
        added = {} if self.preview else {"endpoint": "gke-1.us-west4.gke.goog"}
        dns = config["dnsEndpointConfig"] | added
        return {
            "controlPlaneEndpointsConfig": {**config, "dnsEndpointConfig": dns},
            "endpoint": UNKNOWN if self.preview else "203.0.113.7",
            "masterAuth": UNKNOWN
            if self.preview
            else {
                rpc._special_sig_key: rpc._special_secret_sig,
                "value": {"clusterCaCertificate": "PEM", "clientKey": "canary-key"},
            },
        }

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
                request.provider,
                tuple(request.ignoreChanges),
                frozenset(request.replace_with),
                (request.customTimeouts.create, request.customTimeouts.update),
                request.deleteBeforeReplace,
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
def run() -> Iterator[Callable[..., Recorder]]:
    """Run a program against a recording engine and wait for all of it."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)

    def play(program: Callable[[], object], *, preview: bool = False) -> Recorder:
        recorder = Recorder(preview=preview)
        monitor = RecordingMonitor(recorder)
        # The stack of the program before would keep what that one exported, and be this one's too.
        reset_options()
        mocks.set_mocks(recorder, project="llm", stack="test", preview=preview, monitor=monitor)

        async def main() -> None:
            program()

        loop.run_until_complete(pulumi_stack.run_pulumi_func(main))
        root = get_root_resource()
        assert isinstance(root, pulumi_stack.Stack)

        async def exported() -> dict[str, Any]:
            return await pulumi.Output.from_input(root.outputs).future() or {}

        recorder.outputs = loop.run_until_complete(exported())
        return recorder

    yield play
    loop.close()
    asyncio.set_event_loop(None)
