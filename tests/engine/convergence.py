"""After faults: what a stack's state knows against what the rehearsed cloud has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from providers.modelops.vertexai.names import URN_LABEL
from rehearsal.standins.gcp.iam import IamMember
from rehearsal.standins.gcp.models import MODELS
from rehearsal.standins.model import Cloud, RecordModel
from tests.engine.background import engine_processes, until
from tests.engine.lab import STACK, Lab

_UNKNOWN_TO_STATES = (
    *("project", "run.execution", "aiplatform.customJob"),
    *("aiplatform.operation", "aiplatform.artifacts", "iam.serviceAgent"),
)
"""Kinds that no state ever holds: the project is there before, what ran is a list that Google keeps, and some
things are Google's own."""
IMAGE = "docker-build:index:Image"
_VERTEX = "modelops:vertex:"


def recover(lab: Lab, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`llmstack recover`, as a person runs it."""
    return subprocess.run(
        [sys.executable, "-m", "llmstack.main", "recover", STACK, *arguments],
        cwd=lab.root,
        env={**os.environ, "LLMSTACK_RUNNER": lab.variables["LLMSTACK_RUNNER"]},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def orphans(lab: Lab) -> list[str]:
    """What the world has and the state does not know: resources, enabled secrets, images, bindings."""
    world, known = lab.world(), _known(lab)
    found = []
    for record in world.list():
        # A custom job that bears the mark of a resource is one; the others have staged something.
        if record.kind in _UNKNOWN_TO_STATES and URN_LABEL not in record.body.get("labels", {}):
            continue
        destroyed = record.body.get("state") == "DESTROYED"
        name = record.name.rpartition("@")[2] if record.kind == "artifactregistry.image" else record.name
        if not destroyed and name not in known:
            found.append(record.name)
        bound = [f"{record.name}/{role}/{member}" for role, member in world.bindings(record.name)]
        found += [binding for binding in bound if binding not in known]
    return found


def ghosts(lab: Lab) -> list[str]:
    """What the state claims and the world does not have."""
    world = lab.world()
    names = {record.name for record in world.list()}
    names |= {record.name.rpartition("@")[2] for record in world.list("artifactregistry.image")}
    names |= {f"{each}/{role}/{member}" for each in names for role, member in world.bindings(each)}
    return sorted(_known(lab) - names)


def assert_converged(lab: Lab) -> None:
    """State and world tell the same; another `up` has nothing to do; no process of an engine runs."""
    assert orphans(lab) == []
    assert ghosts(lab) == []
    again = lab.preview()
    assert not again.failed, again.output
    assert again.changed() == {}
    assert len(lab.outputs()["urls"]) == 1
    until(lambda: not engine_processes(lab), "the end of every process of an engine")


def _known(lab: Lab) -> set[str]:
    """Names in the world of what the state has."""
    project = str(lab.world().list("project")[0].body["projectId"])
    cloud = Cloud(lab.world(), project=project, region="us-central1")
    return {name for each in _resources(lab) if (name := _name(cloud, each))}


def _resources(lab: Lab) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(lab.state())["deployment"].get("resources", [])
    return found


def _name(cloud: Cloud, resource: dict[str, Any]) -> str:
    model, id = MODELS.get(resource["type"]), str(resource.get("id", ""))
    if isinstance(model, RecordModel):
        return model.name_of(cloud, id)
    if isinstance(model, IamMember):
        return model.address(cloud, {**model.defaults(cloud, resource["inputs"])})
    if resource["type"].startswith(_VERTEX):
        # A deployment stays the same resource when a switch makes another deployed model of it.
        endpoint, below, _ = id.partition("/deployedModels/")
        number = resource["outputs"]["deployedModelId"] if below else ""
        return f"aiplatform.googleapis.com/{endpoint}{below}{number}"
    return id if resource["type"] == IMAGE else ""
