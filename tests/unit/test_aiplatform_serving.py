"""Models at endpoints of the rehearsed Vertex AI: deployed, asked while traffic shifts, undeployed."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.auth.transport.requests import Request
from googleapiclient.errors import HttpError

from rehearsal.cloud.aiplatform.deployed import DEPLOYED
from rehearsal.cloud.aiplatform.quotas import limit_setting, quota_id
from rehearsal.cloud.client import ensure_running
from rehearsal.cloud.tokens import Tokens, member_of
from rehearsal.cloud.workloads import read_all
from rehearsal.world import Fault
from tests.unit.aiplatform_world import Vertex, deployed_model, emptied, started
from tests.unit.cloud_world import BUCKET, PROJECT, REGION, STRANGER, Running

_DEPLOY = "aiplatform.projects.locations.endpoints.deployModel"
_GPU = {"machineType": "g2-standard-12", "acceleratorType": "NVIDIA_L4", "acceleratorCount": 1}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with started(tmp_path_factory.mktemp("vertex")) as cloud:
        yield cloud


@pytest.fixture
def vertex(running: Running) -> Iterator[Vertex]:
    made = Vertex(running)
    yield made
    emptied(running, made.api.projects().locations())


def refusal(call: Callable[[], Any]) -> tuple[int, str]:
    with pytest.raises(HttpError) as caught:
        call()
    return int(caught.value.resp.status), str(caught.value.reason)


def deployed_id(operation: dict[str, Any]) -> str:
    return str(operation["response"]["deployedModel"]["id"])


def resources(least: int = 1, most: int = 1, machine: dict[str, Any] | None = None) -> dict[str, Any]:
    spec = machine or {"machineType": "n1-standard-4"}
    return {"dedicatedResources": {"machineSpec": spec, "minReplicaCount": least, "maxReplicaCount": most}}


def post(vertex: Vertex, endpoint: str, verb: str, content: bytes, **headers: str) -> httpx.Response:
    if not vertex.credentials.valid:
        vertex.credentials.refresh(Request())
    headers = {"authorization": f"Bearer {vertex.credentials.token}", **headers}
    url = f"{vertex.running.base_url}/v1/{endpoint}:{verb}"
    return httpx.post(url, content=content, headers=headers, timeout=30)


def test_a_prediction_reaches_the_container_with_what_vertex_tells_it_and_its_copy_of_the_model(vertex):
    artifacts = f"gs://{BUCKET}/models/tiny"
    container = {"args": ["--colour", "$(COLOUR)", "$(NONE)"]}
    name = vertex.upload(modelId="tiny", artifactUri=artifacts, env={"COLOUR": "red"}, container=container)[
        "model"
    ]
    endpoint = vertex.endpoint()
    status, reason = refusal(lambda: vertex.predict(endpoint))
    assert (status, "traffic_split" in reason) == (400, True)
    operation = vertex.deploy(endpoint, f"{name}@default", {"0": 100})
    assert operation["metadata"]["deploymentStage"] == "SUCCESSFULLY_DEPLOYED"
    id = deployed_id(operation)
    answer = vertex.predict(endpoint)
    (prediction,) = answer["predictions"]
    assert (answer["deployedModelId"], answer["model"], answer["modelVersionId"]) == (id, name, "1")
    assert prediction["artifact"] == "0123"
    assert prediction["args"] == ["--colour", "red", "$(NONE)"]
    assert prediction["AIP_ENDPOINT_ID"] == endpoint.rpartition("/")[2]
    assert (prediction["AIP_PREDICT_ROUTE"], prediction["AIP_MACHINE_TYPE"]) == ("/predict", "n1-standard-4")
    status, reason = refusal(lambda: vertex.predict(endpoint, fail=True))
    assert (status, "too long" in reason) == (413, True)
    unknown = {"instances": ["x"], "instance": "x"}
    assert refusal(vertex.endpoints.predict(endpoint=endpoint, body=unknown).execute)[0] == 400
    raw = post(vertex, endpoint, "rawPredict", b'["any", "thing"]')
    assert raw.json() == {"raw": ["any", "thing"]}
    assert raw.headers["x-vertex-ai-deployed-model-id"] == id
    assert post(vertex, endpoint, "streamRawPredict", b"events").text == "data: one\n\ndata: two\n\n"
    assert refusal(vertex.models.delete(name=name).execute)[0] == 400
    assert refusal(vertex.endpoints.delete(name=endpoint).execute)[0] == 400


def test_no_prediction_fails_while_a_new_version_takes_over_step_by_step(vertex):
    name = vertex.upload(modelId="tiny", env={"COLOUR": "blue"})["model"]
    endpoint = vertex.endpoint()
    old = deployed_id(vertex.deploy(endpoint, name, {"0": 100}))
    vertex.upload(parentModel=name, env={"COLOUR": "green", "DELAY": "1"})
    answers, failures, stop = Counter[str](), list[str](), threading.Event()
    vertex.credentials.refresh(Request())

    def ask() -> None:
        while not stop.is_set():
            body = json.dumps({"instances": ["x"], "parameters": {"sleep": 0.2}}).encode()
            answer = post(vertex, endpoint, "predict", body)
            if answer.is_success:
                answers[answer.json()["predictions"][0]["COLOUR"]] += 1
            else:
                failures.append(answer.text)

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    try:
        new = deployed_id(vertex.deploy(endpoint, f"{name}@2", {old: 90, "0": 10}))
        patch = {"trafficSplit": {old: 50, new: 50}}
        vertex.endpoints.patch(name=endpoint, updateMask="trafficSplit", body=patch).execute()
        halfway = answers.copy()
        deadline = time.monotonic() + 60
        while not (answers["green"] > halfway["green"] and answers["blue"] > halfway["blue"]):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        body = {"deployedModelId": old}
        assert refusal(vertex.endpoints.undeployModel(endpoint=endpoint, body=body).execute)[0] == 400
        vertex.finish(
            vertex.endpoints.undeployModel(endpoint=endpoint, body={**body, "trafficSplit": {new: 100}})
        )
    finally:
        stop.set()
        for asker in askers:
            asker.join()
    assert failures == []
    assert vertex.predict(endpoint)["deployedModelId"] == new
    found = vertex.endpoints.get(name=endpoint).execute()
    assert (found["trafficSplit"], [each["id"] for each in found["deployedModels"]]) == ({new: 100}, [new])


def test_a_container_that_never_gets_healthy_fails_the_deployment_and_leaves_nothing(vertex):
    name = vertex.upload(modelId="tiny", env={"MODE": "broken"})["model"]
    endpoint = vertex.endpoint()
    error = vertex.deploy(endpoint, name, {"0": 100})["error"]
    assert error["code"] == 9
    assert error["message"].startswith("Model server never became ready.")
    assert "the model is missing" in error["message"]
    log = Path(error["message"].rpartition(" in ")[2].rstrip(")."))
    assert "the model is missing" in log.read_text()
    assert "trafficSplit" not in vertex.endpoints.get(name=endpoint).execute()
    assert vertex.world.list(DEPLOYED) == []
    vertex.finish(vertex.endpoints.delete(name=endpoint))


def test_a_startup_probe_by_a_command_runs_in_the_container_and_holds_the_deployment_back(vertex):
    def probe(program: str) -> dict[str, Any]:
        return {"startupProbe": {"exec": {"command": ["python", "-c", program]}, "timeoutSeconds": 10}}

    says = "import os, sys; sys.exit('loading ' + os.environ['COLOUR'])"
    container = {**probe(says), "deploymentTimeout": "3s"}
    waiting = vertex.upload(modelId="waiting", env={"COLOUR": "red"}, container=container)["model"]
    error = vertex.deploy(vertex.endpoint(), waiting, {"0": 100})["error"]
    assert "loading red" in error["message"]
    loaded = vertex.upload(modelId="loaded", env={"DELAY": "1"}, container=probe(""))["model"]
    endpoint = vertex.endpoint()
    id = deployed_id(vertex.deploy(endpoint, loaded, {"0": 100}))
    assert vertex.predict(endpoint)["deployedModelId"] == id


def test_a_deployment_under_way_can_be_cancelled_and_keeps_its_endpoint_till_then(vertex):
    name = vertex.upload(modelId="tiny", env={"DELAY": "600"})["model"]
    endpoint = vertex.endpoint()
    body = {"deployedModel": deployed_model(name), "trafficSplit": {"0": 100}}
    begun = vertex.endpoints.deployModel(endpoint=endpoint, body=body).execute()
    deadline = time.monotonic() + 30
    while not vertex.world.list(DEPLOYED):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    status, reason = refusal(vertex.endpoints.delete(name=endpoint).execute)
    assert (status, "being-deployed" in reason) == (400, True)
    vertex.endpoints.operations().cancel(name=begun["name"]).execute()
    assert vertex.done(vertex.endpoints.operations().get(name=begun["name"]).execute())["error"]["code"] == 1
    assert vertex.world.list(DEPLOYED) == []
    assert read_all(vertex.running.folder) == []
    vertex.finish(vertex.endpoints.delete(name=endpoint))


def test_quota_counts_the_most_replicas_of_all_that_is_deployed_and_faults_end_operations(vertex):
    vertex.world.set_setting(limit_setting("NVIDIA_L4", REGION), "3")
    name, endpoint = vertex.upload(modelId="tiny")["model"], vertex.endpoint()
    first = deployed_id(vertex.deploy(endpoint, name, **resources(1, 2, _GPU)))
    error = vertex.deploy(endpoint, name, **resources(1, 2, _GPU))["error"]
    assert error["code"] == 8
    assert quota_id("NVIDIA_L4") == "CustomModelServingL4GPUsPerProjectPerRegion"
    assert f"{quota_id('NVIDIA_L4')} (2 needed, 2 in use, limit 3" in error["message"]
    mutation = {"deployedModel": {"id": first, **resources(1, 4, _GPU)}, "updateMask": "dedicatedResources"}
    mutate = vertex.endpoints.mutateDeployedModel(endpoint=endpoint, body=mutation)
    assert vertex.finish(mutate)["error"]["code"] == 8
    vertex.world.set_setting(limit_setting("NVIDIA_L4", REGION), "4")
    mutated = vertex.finish(mutate)["response"]["deployedModel"]
    assert mutated["dedicatedResources"]["maxReplicaCount"] == 4
    wrong = {**mutation, "updateMask": "serviceAccount"}
    mutate = vertex.endpoints.mutateDeployedModel(endpoint=endpoint, body=wrong)
    assert refusal(mutate.execute)[0] == 400
    vertex.world.faults.add(Fault("stockout", operation=f"{_DEPLOY}.operation"))
    error = vertex.deploy(endpoint, name)["error"]
    assert (error["code"], "ZONE_RESOURCE_POOL_EXHAUSTED" in error["message"]) == (14, True)
    assert [record.name.rpartition("/")[2] for record in vertex.world.list(DEPLOYED)] == [first]


def test_what_a_deployment_may_not_ask_for_is_refused_at_once(vertex):
    name, endpoint = vertex.upload(modelId="tiny")["model"], vertex.endpoint()

    def deploy(split: dict[str, int] | None = None, **changes: Any) -> str:
        status, reason = refusal(lambda: vertex.deploy(endpoint, name, split, **changes))
        assert status in (400, 404)
        return reason

    assert "adds up to 90" in deploy({"0": 90})
    assert "no DeployedModel 7" in deploy({"0": 90, "7": 10})
    assert "at least 1" in deploy(**resources(0, 1))
    assert "fewer than the 2" in deploy(**resources(2, 1))
    assert "does not take" in deploy(**resources(machine={"machineType": "g2-standard-12"}))
    wrong = {"machineType": "n1-standard-4", "acceleratorType": "nvidia-l4", "acceleratorCount": 1}
    assert "acceleratorType" in deploy(**resources(machine=wrong))
    assert "machineSpec" in deploy(dedicatedResources={"minReplicaCount": 1})
    assert "does not exist" in deploy(model=f"{name}@9")
    assert vertex.world.list(DEPLOYED) == []


def test_a_dedicated_endpoint_answers_at_its_own_address_and_a_private_one_in_its_network(vertex):
    name = vertex.upload(modelId="tiny")["model"]
    endpoint = vertex.endpoint(dedicatedEndpointEnabled=True)
    number = vertex.world.ensure_project(PROJECT).body["number"]
    dns = vertex.endpoints.get(name=endpoint).execute()["dedicatedEndpointDns"]
    assert dns == f"{endpoint.rpartition('/')[2]}.us-central1-{number}.prediction.vertexai.goog"
    vertex.deploy(endpoint, name, {"0": 100})
    status, reason = refusal(lambda: vertex.predict(endpoint))
    assert (status, dns in reason) == (400, True)
    body = b'{"instances": ["x"]}'
    assert post(vertex, endpoint, "predict", body, host=dns).status_code == 200
    assert post(vertex, endpoint, "predict", body, host=f"9{dns}").status_code == 400
    private = vertex.endpoint(privateServiceConnectConfig={"enablePrivateServiceConnect": True})
    vertex.deploy(private, name, {"0": 100})
    assert refusal(lambda: vertex.predict(private))[0] == 400
    assert post(vertex, private, "predict", body, host="10.0.0.5").status_code == 200


def test_who_predicts_needs_a_role_on_the_endpoint(vertex):
    from google.oauth2.credentials import Credentials

    name, endpoint = vertex.upload(modelId="tiny")["model"], vertex.endpoint()
    vertex.deploy(endpoint, name, {"0": 100})
    token = Tokens(vertex.running.folder).access(member_of(STRANGER))["access_token"]
    stranger = Vertex(vertex.running, Credentials(token))
    status, reason = refusal(lambda: stranger.predict(endpoint))
    assert (status, "aiplatform.endpoints.predict" in reason) == (403, True)
    (record,) = vertex.world.list("aiplatform.endpoint")
    vertex.world.bind(record.name, "roles/aiplatform.user", f"serviceAccount:{STRANGER}")
    assert len(stranger.predict(endpoint)["predictions"]) == 1
    assert refusal(stranger.models.get(name=name).execute)[0] == 403


def test_what_is_deployed_and_what_is_being_deployed_outlives_the_cloud_process(vertex):
    name, endpoint = vertex.upload(modelId="tiny")["model"], vertex.endpoint()
    first = deployed_id(vertex.deploy(endpoint, name, {"0": 100}))
    vertex.upload(parentModel=name, env={"COLOUR": "green", "DELAY": "3"})
    body = {"deployedModel": deployed_model(f"{name}@2"), "trafficSplit": {"0": 100}}
    begun = vertex.endpoints.deployModel(endpoint=endpoint, body=body).execute()
    deadline = time.monotonic() + 30
    while len(vertex.world.list(DEPLOYED)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(json.loads((vertex.running.folder / "cloud.json").read_text())["pid"], signal.SIGKILL)
    vertex.running.base_url = ensure_running(vertex.running.folder)
    after = Vertex(vertex.running)
    assert len(after.endpoints.get(name=endpoint).execute()["deployedModels"]) == 1
    ended = after.done(after.endpoints.operations().get(name=begun["name"]).execute())
    second = deployed_id(ended)
    assert after.predict(endpoint)["deployedModelId"] == second
    after.finish(after.endpoints.undeployModel(endpoint=endpoint, body={"deployedModelId": first}))
    assert [record.name.rpartition("/")[2] for record in after.world.list(DEPLOYED)] == [second]
