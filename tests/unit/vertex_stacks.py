"""Configurations of deployments on topology `vertex`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stacks.plan.types import StackPlan
from stacks.plan.types_vertex import VertexPlan
from tests.unit.config_sources import plan, problems

T4 = {"type": "n1-standard-8", "accelerator": "nvidia-tesla-t4"}


def stack(environment: str = "dev", region: str = "europe-west4", **deployment: Any) -> dict[str, Any]:
    """A configuration with one deployment, `chat`; keyword arguments change it."""
    return {
        "gcp:project": "acme-ml-dev",
        "gcp:region": region,
        "llm:environment": environment,
        "llm:deployments": {"chat": {"topology": "vertex", "model": "gpt2", **deployment}},
    }


def planned(folder: Path, **deployment: Any) -> VertexPlan:
    """The plan of that deployment."""
    return of(plan(stack(**deployment), folder))


def of(whole: StackPlan) -> VertexPlan:
    """The only deployment of a plan."""
    (found,) = whole.on_vertex.values()
    return found


def refusals(folder: Path, **deployment: Any) -> dict[str, str]:
    """What is wrong with that deployment: reason and remedy by key below it."""
    found = problems(stack(**deployment), folder).problems
    return {
        each.path.removeprefix("llm:deployments.chat."): f"{each.reason}; {each.remedy}" for each in found
    }
