"""Stack files with deployments on TPUs, and how to look at what they become."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.components.conftest import Recorder, Registered

Run = Callable[..., Recorder]
"""The fixture `run`, also of a first preview."""

STACK = """
  gcp:project: acme-ml-dev
  gcp:region: us-west4
  llm:environment: {environment}
  llm:hubTokenSecret: shared-token
{more}
  llm:deployments:
    assistant:
      topology: gke-tpu
      model: {model}
{deployment}
"""
GEMMA = "google/gemma-2b"
LLAMA = "meta-llama/Llama-2-7b-hf"
LARGE = "      tpu: {machine: ct5lp-hightpu-8t}\n"
DISK = "      weights: {volume: disk}\n"


def text(model: str = GEMMA, deployment: str = "", more: str = "", environment: str = "dev") -> str:
    """A stack file's configuration with one deployment, `assistant`."""
    return STACK.format(model=model, deployment=deployment, more=more, environment=environment)


def named(recorder: Recorder, name: str) -> Registered:
    """The only resource of a logical name."""
    (found,) = [each for each in recorder.resources if each.name == name]
    return found


def kubernetes(recorder: Recorder) -> list[Registered]:
    """The Kubernetes objects."""
    return [each for each in recorder.resources if each.type.startswith("kubernetes:")]


def before(recorder: Recorder, name: str) -> set[str]:
    """Logical names of all that a resource waits for, also at one remove and further."""
    by_urn = {each.name: each for each in recorder.resources}
    found: set[str] = set()
    left = [name]
    while left:
        direct = {urn.rpartition("::")[2] for urn in by_urn[left.pop()].dependencies}
        left += sorted(direct - found)
        found |= direct
    return found


def kubeconfig(recorder: Recorder) -> Any:
    """What the Kubernetes provider is configured with."""
    return json.loads(named(recorder, "cluster-kubernetes").inputs["kubeconfig"])


def roles(recorder: Recorder) -> dict[str, tuple[str, str]]:
    """Role and member of every grant, by logical name."""
    return {
        each.name: (each.inputs["role"], each.inputs["member"])
        for each in recorder.resources
        if {"role", "member"} <= each.inputs.keys()
    }
