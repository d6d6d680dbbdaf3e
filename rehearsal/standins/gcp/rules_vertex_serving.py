"""Predicates about models at endpoints of Vertex AI: traffic, replicas, machines, accelerators."""

from __future__ import annotations

import json
from collections.abc import Iterator

from providers.base.values import Properties
from rehearsal.standins.gcp.aiplatform import endpoint_name
from rehearsal.standins.gcp.rules_common import find, known
from rehearsal.standins.model import Cloud
from rehearsal.standins.refusals import Finding, predicate
from stacks.plan.hardware import ComputeMachine, accelerators, compute_machines

_RESOURCES = "dedicatedResources"
_MACHINE = f"{_RESOURCES}.machineSpec"


@predicate
def endpoint_missing(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:
    """An endpoint that does not exist."""
    name = endpoint_name(inputs["project"], inputs["location"], inputs["endpoint"])
    if cloud.world.get(name) is None:
        yield "endpoint", {"endpoint": name.partition("/")[2]}


@predicate
def traffic_split(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:  # noqa: ARG001
    """A traffic split that is no JSON map of ids to percentages, or does not add up."""
    text = known(inputs, "trafficSplit")
    if not isinstance(text, str) or not text:
        return
    try:
        split = json.loads(text)
    except ValueError:
        split = None
    why = ""
    if not isinstance(split, dict) or not all(type(percent) is int for percent in split.values()):
        why = "write a JSON object of ids and whole percentages"
    elif split and sum(split.values()) != 100:
        why = f"it adds up to {sum(split.values())}, not to 100"
    if why:
        yield "trafficSplit", {"value": text, "why": why}


@predicate
def longer_than(cloud: Cloud, inputs: Properties, paths: list[str], limit: float) -> Iterator[Finding]:  # noqa: ARG001
    """A duration, in Google's form `3.5s`, beyond a limit in seconds."""
    for path, value in find(inputs, paths):
        if isinstance(value, str) and float(value.removesuffix("s")) > limit:
            yield path, {"value": value, "limit": limit}


@predicate
def fewer_than_least(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:  # noqa: ARG001
    """Fewer replicas at most than at least."""
    resources = known(inputs, _RESOURCES)
    least, most = known(resources, "minReplicaCount"), known(resources, "maxReplicaCount")
    if isinstance(least, int) and isinstance(most, int) and most < least:
        yield f"{_RESOURCES}.maxReplicaCount", {"least": least, "most": most}


@predicate
def machine_not_for_serving(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:  # noqa: ARG001
    """A machine type that Vertex AI's list for prediction does not have."""
    machines = compute_machines()
    for path, value in find(inputs, [f"{_MACHINE}.machineType"]):
        if not str(value).startswith(("ct", "tpu")) and (
            value not in machines or not machines[value].vertex_serving
        ):
            yield path, {"value": value}


@predicate
def accelerator_mismatch(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:  # noqa: ARG001
    """An accelerator that the machine type does not take, or not so many of it."""
    for path, spec in find(inputs, [_MACHINE]):
        machine = compute_machines().get(known(spec, "machineType") or "")
        wanted, count = known(spec, "acceleratorType"), known(spec, "acceleratorCount") or 0
        if machine is None or (wanted is None and machine.accelerator is None):
            continue
        kind, counts = _taken(machine, wanted)
        if wanted != kind or count not in counts:
            right = f"it takes {kind}, {_words(counts)}" if kind else "it takes none"
            facts = {"machine": machine.name, "accelerator": wanted or "no accelerator", "count": count}
            yield path, {**facts, "right": right}


def _taken(machine: ComputeMachine, wanted: str | None) -> tuple[str | None, tuple[int, ...]]:
    """The accelerator that a machine type takes, and how many of it may be asked for."""
    if machine.accelerator is not None:
        name = accelerators()[machine.accelerator].vertex_name
        return name, tuple(range(1, machine.accelerator_count + 1))
    found = next((each for each in accelerators().values() if each.vertex_name == wanted), None)
    if found is None or found.n1_counts is None or machine.family not in ("n1-standard", "n1-highmem", "n1"):
        return None, ()
    return wanted, tuple(found.n1_counts.value.get(machine.cpus, ()))


def _words(counts: tuple[int, ...]) -> str:
    return " or ".join(map(str, counts)) or "none with so few CPUs"
