"""Where a stack's deployment is: an address of Cloud Run, an endpoint of Vertex AI, or pods of a cluster."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from pydantic import ValidationError

from llmstack.client import AskError, Deployment, identity_token
from llmstack.client_cluster import ClusterTarget
from llmstack.client_vertex import VertexTarget
from llmstack.engine import EngineEnvironment, engine_environment
from llmstack.project import load_plan
from providers.base.errors import one_line
from providers.modelops.kubernetes_access import ClusterAccess
from rehearsal.driver import RehearsalError

OUTPUTS_SECONDS = 120
"""Longest time in which the engine reads a stack's outputs."""


class Target(Protocol):
    """A deployment that can be called."""

    def open(self) -> AbstractContextManager[Deployment]:
        """Gives how to call it; that holds until the end of the block.

        Raises:
            AskError: it cannot be called now.
        """


@dataclass(frozen=True)
class CloudRunTarget:
    """A service of Cloud Run.

    Args:
        url: its address.
        variables: the environment of commands about its stack.
        rehearsed: whether it is in a rehearsed cloud.
    """

    url: str
    variables: Mapping[str, str]
    rehearsed: bool

    @contextmanager
    def open(self) -> Iterator[Deployment]:
        """Gives its address with an identity token."""
        renew = partial(identity_token, self.url, self.variables)
        yield Deployment(self.url.rstrip("/"), renew(), renew, self.rehearsed)


def find_target(root: Path, stack: str, name: str) -> Target:
    """Looks a deployment up in the outputs of its stack.

    Raises:
        AskError: the stack is not up, or has no such deployment.
        typer.Exit: the stack file has problems.
    """
    try:
        environment = engine_environment(root, stack)
    except RehearsalError as error:
        raise AskError(str(error)) from error
    outputs = _outputs(environment, stack)
    urls, models = outputs.get("urls", {}), outputs.get("models", {})
    if name in urls:
        return CloudRunTarget(urls[name], environment.variables, environment.rehearsed)
    endpoints = outputs.get("endpoints", {})
    if name in endpoints:
        found = endpoints[name]
        return VertexTarget(
            found["name"],
            found["url"],
            models.get(name, ""),
            environment.variables,
            environment.rehearsed,
        )
    if name in models and outputs.get("cluster"):
        return _in_cluster(root, stack, name, outputs, environment)
    known = ", ".join(sorted({*urls, *models})) or "none"
    raise AskError(f"stack {stack} has no deployment {name!r} that is up (up: {known}): run pulumi up")


def _in_cluster(
    root: Path, stack: str, name: str, outputs: Mapping[str, Any], environment: EngineEnvironment
) -> ClusterTarget:
    plan = load_plan(root, stack).on_tpu.get(name)
    if plan is None:
        raise AskError(
            f"{name} of stack {stack} is up in a cluster, and its stack file says otherwise: run pulumi up"
        )
    try:
        access = ClusterAccess.model_validate(outputs["cluster"])
    except ValidationError as error:
        said = one_line(error)
        raise AskError(f"the outputs of stack {stack} do not say how to reach its cluster: {said}") from error
    _use_credentials(environment.variables)
    return ClusterTarget(access, plan, outputs["models"][name], environment.rehearsed)


def _use_credentials(variables: Mapping[str, str]) -> None:
    """Has this process use the credentials of the stack and trust whom it trusts: a rehearsal has its own."""
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "SSL_CERT_FILE"):
        if variables.get(name):
            os.environ[name] = variables[name]


def _outputs(environment: EngineEnvironment, stack: str) -> dict[str, Any]:
    command = ["pulumi", "stack", "output", "--json", "--stack", stack]
    try:
        done = subprocess.run(
            command,
            cwd=environment.folder,
            env=environment.variables,
            capture_output=True,
            text=True,
            timeout=OUTPUTS_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise AskError("there is no Pulumi engine: run `make setup` to install it into .engine/") from None
    except subprocess.TimeoutExpired:
        raise AskError(
            f"the outputs of stack {stack} were not there in {OUTPUTS_SECONDS} s: try "
            f"pulumi stack output --stack {stack}"
        ) from None
    if done.returncode:
        message = done.stderr.strip().split("\n")[-1]
        raise AskError(f"the outputs of stack {stack} cannot be read: {message}")
    outputs: dict[str, Any] = json.loads(done.stdout or "{}")
    return outputs
