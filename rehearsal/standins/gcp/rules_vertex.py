"""Predicates about custom jobs of Vertex AI: the place, the machine, the account."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from providers.base.values import Properties
from rehearsal.cloud.discovery import Api
from rehearsal.standins.gcp.rules_common import find, known
from rehearsal.standins.model import Cloud
from rehearsal.standins.refusals import Finding, predicate
from stacks.plan.hardware import compute_machines

_ACCOUNT_DOMAIN = ".iam.gserviceaccount.com"
_POOLS = "jobSpec.workerPoolSpecs[*]"


@predicate
def no_endpoint(cloud: Cloud, inputs: Properties, document: str) -> Iterator[Finding]:  # noqa: ARG001
    """A location in which the API has no address."""
    location = known(inputs, "location")
    if location and location not in _locations(document):
        yield "", {"location": location}


@predicate
def no_worker_pool(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:  # noqa: ARG001
    """No worker pool at all, or one that runs no container."""
    pools = list(find(inputs, [_POOLS]))
    if not pools:
        yield "jobSpec.workerPoolSpecs", {}
    for path, pool in pools:
        if not known(pool, "containerSpec"):
            yield path, {}


@predicate
def no_machine_type(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:  # noqa: ARG001
    """A worker pool that names no machine type."""
    for path, pool in find(inputs, [_POOLS]):
        if not known(known(pool, "machineSpec"), "machineType"):
            yield path, {}


@predicate
def machine_not_for_training(cloud: Cloud, inputs: Properties, paths: list[str]) -> Iterator[Finding]:  # noqa: ARG001
    """A machine type that Vertex AI's list for training does not have."""
    machines = compute_machines()
    for path, value in find(inputs, paths):
        if value not in machines or not machines[value].vertex_training:
            yield path, {"value": value}


@predicate
def account_elsewhere(cloud: Cloud, inputs: Properties, paths: list[str]) -> Iterator[Finding]:
    """A service account of another project."""
    for path, email in find(inputs, paths):
        project = str(email).partition("@")[2].removesuffix(_ACCOUNT_DOMAIN)
        if project != cloud.project:
            yield path, {"email": email, "project": cloud.project}


@cache
def _locations(document: str) -> frozenset[str]:
    return Api(document).locations
