"""Pulumi's resources of Vertex AI in the rehearsed cloud: they are what the REST face shows."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from providers.base.errors import ProviderError
from providers.base.provider import (
    CheckRequest,
    ConfigureRequest,
    CreateRequest,
    DeleteRequest,
    ReadRequest,
    UpdateRequest,
)
from rehearsal.standins.gcp.provider import GcpStandin
from tests.unit.aiplatform_world import Vertex, emptied, started
from tests.unit.cloud_world import ACCOUNT, LOCATION, PROJECT, REGION, Running
from tests.unit.standin_world import ENDPOINT, ON_ENDPOINT, STORE

_INPUTS = {"name": "123456789", "displayName": "assistant", "location": REGION, "labels": {"env": "dev"}}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with started(tmp_path_factory.mktemp("vertex")) as cloud:
        yield cloud


@pytest.fixture
def vertex(running: Running) -> Iterator[Vertex]:
    made = Vertex(running)
    yield made
    emptied(running, made.api.projects().locations())


@pytest.fixture
def standin(vertex: Vertex) -> GcpStandin:
    standin = GcpStandin("gcp", "10.2.0", vertex.world)
    asyncio.run(standin.configure(ConfigureRequest({"project": PROJECT, "region": REGION}, {})))
    return standin


def urn(token: str) -> str:
    return f"urn:pulumi:dev::llm::{token}::r"


def create(standin: GcpStandin, token: str, inputs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    request = CheckRequest(urn(token), token, "r", {}, inputs, b"seed")
    checked = asyncio.run(standin.check(request))
    assert checked.failures == []
    made = asyncio.run(standin.create(CreateRequest(urn(token), token, "r", checked.inputs)))
    return made.id, {"inputs": checked.inputs, "outputs": dict(made.outputs)}


def read(standin: GcpStandin, token: str, id: str, known: dict[str, Any]) -> Any:
    request = ReadRequest(urn(token), token, "r", id, known["inputs"], known["outputs"])
    return asyncio.run(standin.read(request))


def test_an_endpoint_is_served_by_the_rest_face_and_keeps_its_traffic_through_updates(standin, vertex):
    id, known = create(standin, ENDPOINT, _INPUTS)
    assert id == f"{LOCATION}/endpoints/123456789"
    name = vertex.upload(modelId="tiny")["model"]
    deployed = vertex.deploy(id, name, {"0": 100})["response"]["deployedModel"]["id"]
    assert len(vertex.predict(id)["predictions"]) == 1
    found = read(standin, ENDPOINT, id, known)
    assert found.inputs == known["inputs"]
    (model,) = found.outputs["deployedModels"]
    assert (model["id"], model["dedicatedResources"][0]["machineSpecs"][0]["machineType"]) == (
        deployed,
        "n1-standard-4",
    )
    news = {**known["inputs"], "displayName": "new"}
    request = UpdateRequest(urn(ENDPOINT), ENDPOINT, "r", id, known["inputs"], found.outputs, news)
    asyncio.run(standin.update(request))
    shown = vertex.endpoints.get(name=id).execute()
    assert (shown["displayName"], shown["trafficSplit"]) == ("new", {deployed: 100})
    gone = DeleteRequest(urn(ENDPOINT), ENDPOINT, "r", id, news, found.outputs)
    with pytest.raises(ProviderError, match=f"being-deployed DeployedModel.s.: {deployed}"):
        asyncio.run(standin.delete(gone))
    vertex.finish(vertex.endpoints.undeployModel(endpoint=id, body={"deployedModelId": deployed}))
    asyncio.run(standin.delete(gone))
    assert vertex.endpoints.list(parent=LOCATION).execute()["endpoints"] == []


def test_drift_of_an_endpoint_made_behind_the_engines_back_is_read(standin, vertex):
    id, known = create(standin, ENDPOINT, {**_INPUTS, "dedicatedEndpointEnabled": True})
    assert known["outputs"]["dedicatedEndpointDns"].startswith("123456789.us-central1-")
    change = {"displayName": "by hand", "labels": {"env": "dev", "more": "1"}}
    vertex.endpoints.patch(name=id, updateMask="displayName,labels", body=change).execute()
    found = read(standin, ENDPOINT, id, known)
    assert (found.inputs["displayName"], found.inputs["labels"]) == ("by hand", {"env": "dev"})
    vertex.finish(vertex.endpoints.delete(name=id))
    assert read(standin, ENDPOINT, id, known) is None


def test_a_role_on_an_endpoint_lets_its_member_predict_there_and_nowhere_else(standin, vertex):
    id, _ = create(standin, ENDPOINT, _INPUTS)
    member = {"role": "roles/aiplatform.user", "member": f"serviceAccount:{ACCOUNT}"}
    bound, known = create(standin, ON_ENDPOINT, {"endpoint": "123456789", "location": REGION, **member})
    assert bound == f"{id}/roles/aiplatform.user/serviceAccount:{ACCOUNT}"
    may = vertex.world.allows
    endpoint = f"aiplatform.googleapis.com/{id}"
    assert may(member["member"], "aiplatform.endpoints.predict", endpoint)
    assert not may(member["member"], "aiplatform.endpoints.predict", endpoint.replace("123456789", "5"))
    assert read(standin, ON_ENDPOINT, bound, known).inputs["endpoint"] == id


def test_a_metadata_store_is_the_one_of_the_rest_face(standin, vertex):
    id, known = create(standin, STORE, {"name": "dev_assistant", "description": "d"})
    assert id == f"{LOCATION}/metadataStores/dev_assistant"
    (listed,) = vertex.stores.list(parent=LOCATION).execute()["metadataStores"]
    assert listed["description"] == "d"
    assert read(standin, STORE, id, known).inputs == known["inputs"]
