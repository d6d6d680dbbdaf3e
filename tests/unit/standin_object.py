"""Drives one Kubernetes object through its stand-in, as the engine would."""

from __future__ import annotations

import asyncio
from typing import Any

import yaml

from providers.base.diff import changed_paths
from providers.base.provider import (
    CheckRequest,
    ConfigureRequest,
    CreateRequest,
    DeleteRequest,
    DiffRequest,
    DiffResponse,
    ReadRequest,
    ReadResponse,
    UpdateRequest,
)
from providers.base.values import Properties
from rehearsal.standins.kubernetes.provider import KubernetesStandin
from rehearsal.world import World

NAMESPACE, DEPLOYMENT = "kubernetes:core/v1:Namespace", "kubernetes:apps/v1:Deployment"
SERVICE, JOB = "kubernetes:core/v1:Service", "kubernetes:batch/v1:Job"
CONFIG_MAP, SECRET = "kubernetes:core/v1:ConfigMap", "kubernetes:core/v1:Secret"


def kubeconfig(host: str, authority: str = "", **more: Any) -> str:
    """A kubeconfig as the programs make it: with Google's plugin for authentication, and no credential."""
    entry = {"server": f"https://{host}", **({"certificate-authority-data": authority} if authority else {})}
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "gke-gcloud-auth-plugin",
        "interactiveMode": "Never",
        "provideClusterInfo": True,
    }
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "llm", "cluster": entry}],
            "users": [{"name": "llm", "user": {"exec": plugin}}],
            "contexts": [{"name": "llm", "context": {"cluster": "llm", "user": "llm", **more}}],
            "current-context": "llm",
        }
    )


def configured(world: World, args: Properties) -> KubernetesStandin:
    """The stand-in with a plugin's arguments."""
    standin = KubernetesStandin("kubernetes", "4.34.2", world)
    asyncio.run(standin.configure(ConfigureRequest(args, {})))
    return standin


class Object:
    """One object of the program's."""

    def __init__(self, standin: KubernetesStandin, token: str, name: str = "r") -> None:
        self.standin, self.token, self.name = standin, token, name
        self.urn = f"urn:pulumi:dev::llm::{token}::{name}"
        self.id = ""
        self.inputs: Properties = {}
        self.outputs: Properties = {}

    def failures(self, inputs: Properties) -> list[str]:
        """What is wrong with the inputs."""
        request = CheckRequest(self.urn, self.token, self.name, self.inputs, inputs, b"seed")
        return [failure.reason for failure in asyncio.run(self.standin.check(request)).failures]

    def check(self, inputs: Properties) -> Properties:
        """The inputs as the stand-in completes them."""
        request = CheckRequest(self.urn, self.token, self.name, self.inputs, inputs, b"seed")
        answer = asyncio.run(self.standin.check(request))
        assert answer.failures == ()
        return answer.inputs

    def preview(self, inputs: Properties) -> Properties:
        """What a preview foretells of it as a new object."""
        request = CreateRequest(self.urn, self.token, self.name, self.check(inputs), preview=True)
        return asyncio.run(self.standin.create(request)).outputs

    def up(self, inputs: Properties, timeout: float | None = None) -> Properties:
        """Create or update."""
        news = self.check(inputs)
        if self.id:
            update = UpdateRequest(
                self.urn,
                self.token,
                self.name,
                self.id,
                self.inputs,
                self.outputs,
                news,
                timeout=timeout,
            )
            self.outputs = asyncio.run(self.standin.update(update))
        else:
            request = CreateRequest(self.urn, self.token, self.name, news, timeout=timeout)
            made = asyncio.run(self.standin.create(request))
            self.id, self.outputs = made.id, made.outputs
        self.inputs = news
        return self.outputs

    def diff(self, inputs: Properties) -> DiffResponse:
        """What an update would do."""
        request = DiffRequest(self.urn, self.token, self.id, self.inputs, self.outputs, self.check(inputs))
        return asyncio.run(self.standin.diff(request))

    def changes(self, inputs: Properties) -> list[str]:
        """The paths that would change."""
        return changed_paths(self.diff(inputs).changes or ())

    def read(self, *, imported: bool = False) -> ReadResponse | None:
        """The object as it is."""
        known = ({}, {}) if imported else (self.inputs, self.outputs)
        return asyncio.run(self.standin.read(ReadRequest(self.urn, self.token, self.name, self.id, *known)))

    def refresh(self) -> None:
        """Take in the object as it is."""
        found = self.read()
        assert found is not None
        self.inputs, self.outputs = found.inputs, found.outputs

    def delete(self, timeout: float | None = None) -> None:
        """Remove it."""
        known = (self.id, self.inputs, self.outputs)
        request = DeleteRequest(self.urn, self.token, self.name, *known, timeout=timeout)
        asyncio.run(self.standin.delete(request))
