"""Stacks with deployments on TPUs, for the tests of topology `gke-tpu`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stacks.plan.types_gke import GkeTpuPlan
from tests.unit.config_sources import good, plan, problems

LLAMA = "meta-llama/Llama-2-7b-hf"
REGION = "us-west1"
"""Has both generations, in zone us-west1-c."""
PUBLISHED = {"converter": "published"}
LARGE_NODES = {"cpuPool": {"machine": "e2-highmem-8"}}
"""A cluster whose nodes without TPUs hold Llama 2 7B twice, as Google's converter does."""


def stack(**deployment: Any) -> dict[str, Any]:
    """A configuration with one deployment, `llama`."""
    wanted = {"topology": "gke-tpu", "model": LLAMA, "engine": "jetstream", **deployment}
    return {
        **good(),
        "gcp:region": REGION,
        "llm:hubTokenSecret": "hub-token",
        "llm:deployments": {"llama": wanted},
    }


def llama(folder: Path, **deployment: Any) -> GkeTpuPlan:
    """The plan of that deployment."""
    found = plan(stack(**deployment), folder).deployments["llama"]
    assert isinstance(found, GkeTpuPlan)
    return found


def refusals(folder: Path, **deployment: Any) -> dict[str, str]:
    """What is wrong with that deployment: reason and remedy, by key."""
    found = problems(stack(**deployment), folder).problems
    start = "llm:deployments.llama."
    return {each.path.removeprefix(start): f"{each.reason}; {each.remedy}" for each in found}
