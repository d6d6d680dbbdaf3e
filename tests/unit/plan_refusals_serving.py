"""How the plan keeps what it builds on Vertex AI's endpoints within what the stand-in accepts.

Each proof looks at the resources of every generated plan, whatever topology they are of.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tests.components.conftest import Registered
from tests.unit.plan_evidence import Impossible
from tests.unit.standin_world import ENDPOINT, ON_ENDPOINT, STORE

_MODEL, _DEPLOYMENT = "modelops:vertex:Model", "modelops:vertex:ModelDeployment"
_LONGEST_NAME = 128


def _each(resources: Sequence[Registered], *types: str) -> Iterator[dict[str, Any]]:
    for each in resources:
        if each.type in types:
            yield each.inputs


def _matches(token: str, name: str, pattern: str) -> Callable[[Sequence[Registered]], None]:
    def proof(resources: Sequence[Registered]) -> None:
        for inputs in _each(resources, token):
            value = inputs.get(name)
            assert value is None or re.fullmatch(pattern, value), (name, value)

    return proof


def _names_are_short(resources: Sequence[Registered]) -> None:
    for inputs in _each(resources, ENDPOINT, _MODEL, _DEPLOYMENT):
        assert len((inputs.get("displayName") or "").encode()) <= _LONGEST_NAME


def _one_way_in(resources: Sequence[Registered]) -> None:
    for inputs in _each(resources, ENDPOINT):
        assert not (inputs.get("network") and inputs.get("privateServiceConnectConfig"))


def _split_adds_up(resources: Sequence[Registered]) -> None:
    for inputs in _each(resources, ENDPOINT):
        split = json.loads(inputs.get("trafficSplit") or "{}")
        assert not split or sum(split.values()) == 100


def _granted_on_its_own(resources: Sequence[Registered]) -> None:
    for each in resources:
        assert each.type != ON_ENDPOINT or any(ENDPOINT in urn for urn in each.dependencies)


def _container(check: Callable[[dict[str, Any]], None]) -> Callable[[Sequence[Registered]], None]:
    def proof(resources: Sequence[Registered]) -> None:
        for inputs in _each(resources, _MODEL):
            check(inputs["containerSpec"])

    return proof


def _from_registry(container: dict[str, Any]) -> None:
    image = container.get("imageUri")
    assert image is None or ".pkg.dev/" in image


def _no_other_routes(container: dict[str, Any]) -> None:
    assert "invokeRoutePrefix" not in container


def _no_long_timeout(container: dict[str, Any]) -> None:
    assert float((container.get("deploymentTimeout") or "0s").removesuffix("s")) <= 7200


def _replicas_are_in_order(resources: Sequence[Registered]) -> None:
    for inputs in _each(resources, _DEPLOYMENT):
        assert 1 <= inputs["minReplicas"] <= inputs["maxReplicas"]


def _names_its_machine(resources: Sequence[Registered]) -> None:
    for inputs in _each(resources, _DEPLOYMENT):
        assert inputs["machineType"]
        assert bool(inputs.get("acceleratorType")) == bool(inputs.get("acceleratorCount"))


def _has_an_account(resources: Sequence[Registered]) -> None:
    for each in resources:
        accounts = [urn for urn in each.dependencies if "serviceaccount/account:Account" in urn]
        assert each.type != _DEPLOYMENT or accounts


def _images_are_made_first(resources: Sequence[Registered]) -> None:
    built = {each.name for each in resources if each.type == "docker-build:index:Image"}
    for each in resources:
        if each.type != _MODEL:
            continue
        # An image that is given by its digest is there already.
        image = each.inputs["containerSpec"]["imageUri"].rpartition("/")[2].partition("@")[0]
        if f"image-{image}-build" in built:
            assert any("docker-build:index:Image" in urn for urn in each.dependencies)


SERVING: list[Impossible] = [
    Impossible("vertex.display_name.length", "the plan names them", _names_are_short),
    Impossible("vertex_endpoint.name", "the plan computes it", _matches(ENDPOINT, "name", "[1-9][0-9]{0,9}")),
    Impossible("vertex_endpoint.network_or_connection", "an endpoint is of one kind", _one_way_in),
    Impossible(
        "vertex_endpoint.network",
        "no kind of endpoint is peered",
        _matches(ENDPOINT, "network", r"projects/[0-9]+/global/networks/[^/]+"),
    ),
    Impossible("vertex_endpoint.traffic", "the deployment owns the traffic", _split_adds_up),
    Impossible("vertex_store.name", "the plan names it", _matches(STORE, "name", "[a-z_][a-z0-9_]{0,59}")),
    Impossible("iam.endpoint.exists", "granted on the stack's own endpoint", _granted_on_its_own),
    Impossible("vertex_model.image", "images lie in the stack's registry", _container(_from_registry)),
    Impossible("vertex_model.image.exists", "made after the image", _images_are_made_first),
    Impossible("vertex_model.timeout", "the plan gives it", _container(_no_long_timeout)),
    Impossible("vertex_model.routes", "the routes are the contract's", _container(_no_other_routes)),
    Impossible("vertex_deployed.replicas", "the configuration's bounds", _replicas_are_in_order),
    Impossible("vertex_deployed.replicas.order", "the configuration's bounds", _replicas_are_in_order),
    Impossible("vertex_deployed.machine", "the plan's table of machines", _names_its_machine),
    Impossible("vertex_deployed.accelerator", "the plan's table of machines", _names_its_machine),
    Impossible("vertex_deployed.account.exists", "made after its account", _has_an_account),
]
