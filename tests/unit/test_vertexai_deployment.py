"""A deployment at an endpoint of a rehearsed Vertex AI, whose containers are real processes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from providers.base.errors import InitializationFailed, ProviderError
from providers.base.provider import UpdateRequest
from providers.base.values import UNKNOWN
from providers.modelops.vertexai.endpoints import Endpoint, Endpoints
from tests.unit.cloud_world import Running
from tests.unit.vertexai import (
    DEPLOYMENT,
    ENDPOINT,
    MODEL,
    MODEL_NAME,
    Cloud,
    Engine,
    Killed,
    Properties,
    kill_after,
    provider,
    with_env,
)

model, deployment = Engine("Model"), Engine("ModelDeployment")
ID = f"{ENDPOINT}/deployedModels/assistant-a79f0d52"
CPU = "aiplatform.googleapis.com/prediction/online/cpu/utilization"
TWO = {**DEPLOYMENT, "model": f"{MODEL_NAME}@2", "trafficSteps": [10, 50, 100]}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Cloud.started(tmp_path_factory.mktemp("vertex")) as started:
        yield started


@pytest.fixture
def cloud(running: Running) -> Iterator[Cloud]:
    """One with an endpoint and two versions of a model."""
    with Cloud.used(running) as used:
        used.make_endpoint()
        made = model.create(MODEL)
        model.update(made.id, MODEL, made.outputs, with_env("two"))
        yield used


def update(olds: Properties, outputs: Properties, news: Properties, **more: Any) -> Properties:
    return deployment.update(ID, olds, outputs, news, **more)


def read(news: Properties, outputs: Properties) -> Any:
    return deployment.read(ID, deployment.check(news)[0], outputs)


def test_a_deployment_gets_all_traffic_and_a_second_look_finds_nothing_to_do(cloud: Cloud) -> None:
    made = deployment.create(DEPLOYMENT)
    assert (made.id, cloud.served(), cloud.predict()) == (ID, {"1": 100}, "one")
    (deployed,) = cloud.endpoint()["deployedModels"]
    assert deployed["id"] == made.outputs["deployedModelId"]
    assert deployed["displayName"] == "assistant-a79f0d52"
    found = read(DEPLOYMENT, made.outputs)
    assert (found.inputs, found.outputs) == (deployment.check(DEPLOYMENT)[0], made.outputs)
    assert deployment.diff(DEPLOYMENT, made.outputs, DEPLOYMENT).changes == []


def test_a_switch_moves_the_traffic_in_steps_and_no_call_fails_meanwhile(cloud: Cloud) -> None:
    made = deployment.create(DEPLOYMENT)
    said: list[str] = []
    failed: list[Exception] = []
    over = threading.Event()

    def ask() -> None:
        asking = Cloud.client(cloud.running)
        while not over.is_set():
            try:
                said.append(asking.predict())
            except Exception as error:
                failed.append(error)

    asker = threading.Thread(target=ask)
    asker.start()
    outputs = update(DEPLOYMENT, made.outputs, {**TWO, "stepSeconds": 1})
    over.set()
    asker.join()
    assert failed == []
    assert {said[0], said[-1]} == {"one", "two"}
    assert (cloud.served(), outputs["trafficPercent"]) == ({"2": 100}, 100)
    assert len(cloud.endpoint()["deployedModels"]) == 1
    splits = [call for call in cloud.running.world.calls() if call.operation.endswith("endpoints.patch")]
    assert len(splits) == 3
    order = [call.operation.rpartition(".")[2] for call in cloud.running.world.calls()]
    assert order.index("undeployModel") > max(i for i, verb in enumerate(order) if verb == "patch")


def test_traffic_that_somebody_moves_between_a_look_and_a_shift_is_looked_at_again(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = deployment.create(DEPLOYMENT)
    split, moves = Endpoints.split, [{}]

    def overtaken(self: Endpoints, endpoint: Endpoint, traffic: dict[str, int]) -> None:
        if moves:
            change = {"trafficSplit": moves.pop()}
            cloud.locations.endpoints().patch(name=ENDPOINT, updateMask="trafficSplit", body=change).execute()
        split(self, endpoint, traffic)

    monkeypatch.setattr(Endpoints, "split", overtaken)
    update(DEPLOYMENT, made.outputs, TWO)
    assert cloud.served() == {"2": 100}
    patches = [call for call in cloud.running.world.calls() if call.operation.endswith("endpoints.patch")]
    # Theirs; ours, made of what was there before; ours again, all at once, for nothing else serves now.
    assert [call.outcome for call in patches] == ["ok", "error", "ok"]


@pytest.mark.parametrize(
    ("change", "replaces"),
    [
        ({"model": f"{MODEL_NAME}@2"}, []),
        ({"machineType": "n1-standard-8"}, []),
        ({"minReplicas": 2}, []),
        ({"trafficSteps": [50, 100]}, []),
        ({"spot": True}, []),
        ({"endpoint": "99"}, ["endpoint"]),
        ({"location": "europe-west4"}, ["endpoint", "location"]),
    ],
)
def test_only_another_place_is_another_resource(change: Properties, replaces: list[str]) -> None:
    outputs = {**DEPLOYMENT, "trafficPercent": 100}
    assert deployment.diff(DEPLOYMENT, outputs, {**DEPLOYMENT, **change}).replaces == replaces


def test_scaling_changes_in_place_and_routing_asks_google_nothing(cloud: Cloud) -> None:
    made = deployment.create(DEPLOYMENT)
    scaled = {**DEPLOYMENT, "minReplicas": 2, "maxReplicas": 3, "autoscaling": {CPU: 70}}
    outputs = update(DEPLOYMENT, made.outputs, scaled)
    assert outputs["deployedModelId"] == made.outputs["deployedModelId"]
    resources = cloud.endpoint()["deployedModels"][0]["dedicatedResources"]
    assert (resources["minReplicaCount"], resources["maxReplicaCount"]) == (2, 3)
    assert resources["autoscalingMetricSpecs"] == [{"metricName": CPU, "target": 70}]
    before = len(cloud.running.world.calls())
    assert update(scaled, outputs, {**scaled, "trafficSteps": [20, 100]})["trafficSteps"] == [20, 100]
    assert len(cloud.running.world.calls()) == before
    fewer = update(scaled, outputs, DEPLOYMENT)
    assert (fewer["maxReplicas"], cloud.calls("deployModel")) == (1, 1)


def test_a_preview_says_whether_another_deployment_comes() -> None:
    outputs = {**DEPLOYMENT, "deployedModelId": "1", "trafficPercent": 100}
    assert (
        update(DEPLOYMENT, outputs, {**DEPLOYMENT, "model": UNKNOWN}, preview=True)["deployedModelId"]
        is UNKNOWN
    )
    assert (
        update(DEPLOYMENT, outputs, {**DEPLOYMENT, "maxReplicas": 2}, preview=True)["deployedModelId"] == "1"
    )


def test_what_was_killed_at_any_change_goes_on_and_leaves_nothing_behind(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_after(monkeypatch, "endpoints.deployModel")
    with pytest.raises(Killed):
        deployment.create(DEPLOYMENT)
    made = deployment.create(DEPLOYMENT)
    assert len(cloud.endpoint()["deployedModels"]) == 1
    for method in ("endpoints.deployModel", "endpoints.patch", "endpoints.undeployModel"):
        kill_after(monkeypatch, method)
        with pytest.raises(Killed):
            update(DEPLOYMENT, made.outputs, TWO)
    outputs = update(DEPLOYMENT, made.outputs, TWO)
    assert (cloud.served(), len(cloud.endpoint()["deployedModels"])) == ({"2": 100}, 1)
    kill_after(monkeypatch, "endpoints.undeployModel")
    with pytest.raises(Killed):
        deployment.delete(ID, outputs)
    deployment.delete(ID, outputs)
    assert "deployedModels" not in cloud.endpoint()


def test_a_switch_that_was_stopped_can_go_back_and_leaves_nothing_behind(cloud: Cloud) -> None:
    made = deployment.create(DEPLOYMENT)
    news = deployment.check({**TWO, "stepSeconds": 3600})[0]
    before = deployment.check(DEPLOYMENT)[0]

    async def interrupted() -> None:
        own = provider()
        request = UpdateRequest(deployment.urn, deployment.type, "assistant", ID, before, made.outputs, news)
        switching = asyncio.ensure_future(own.update(request))
        while cloud.served() != {"1": 90, "2": 10}:
            await asyncio.sleep(0.05)
        await own.cancel()
        await switching

    with pytest.raises(InitializationFailed, match="stopped at 10 % of the traffic") as caught:
        asyncio.run(interrupted())
    assert len(cloud.endpoint()["deployedModels"]) == 2
    update(news, caught.value.outputs, DEPLOYMENT)
    assert (cloud.served(), len(cloud.endpoint()["deployedModels"])) == ({"1": 100}, 1)


def test_a_destroy_amid_a_switch_undeploys_both(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    made = deployment.create(DEPLOYMENT)
    kill_after(monkeypatch, "endpoints.patch")
    with pytest.raises(Killed):
        update(DEPLOYMENT, made.outputs, TWO)
    deployment.delete(ID, made.outputs)
    assert "deployedModels" not in cloud.endpoint()


def test_a_container_that_never_gets_ready_leaves_the_old_one_serving(cloud: Cloud) -> None:
    made = deployment.create(DEPLOYMENT)
    model.update(MODEL_NAME, with_env("two"), {"versionId": "2"}, with_env("broken"))
    with pytest.raises(ProviderError, match="Model server never became ready"):
        update(DEPLOYMENT, made.outputs, {**DEPLOYMENT, "model": f"{MODEL_NAME}@3"})
    assert (cloud.served(), cloud.predict()) == ({"1": 100}, "one")
    assert len(cloud.endpoint()["deployedModels"]) == 1


def test_a_refresh_finds_traffic_and_scale_that_were_changed_behind_its_back(cloud: Cloud) -> None:
    made = deployment.create(DEPLOYMENT)
    id = made.outputs["deployedModelId"]
    cloud.locations.endpoints().patch(name=ENDPOINT, updateMask="trafficSplit", body={}).execute()
    found = read(DEPLOYMENT, made.outputs)
    assert found.outputs["trafficPercent"] == 0
    planned = deployment.diff(DEPLOYMENT, found.outputs, DEPLOYMENT)
    assert [change.path for change in planned.output_changes] == [("trafficPercent",)]
    assert update(DEPLOYMENT, found.outputs, DEPLOYMENT)["deployedModelId"] == id
    assert cloud.served() == {"1": 100}


def test_a_refresh_finds_that_somebody_undeployed_it_or_took_the_endpoint_away(cloud: Cloud) -> None:
    made = deployment.create(DEPLOYMENT)
    deployment.delete(ID, made.outputs)
    assert read(DEPLOYMENT, made.outputs) is None
    deployment.delete(ID, made.outputs)
    begun = cloud.locations.endpoints().delete(name=ENDPOINT).execute()
    cloud.locations.endpoints().operations().wait(name=begun["name"]).execute()
    assert read(DEPLOYMENT, made.outputs) is None
    deployment.delete(ID, made.outputs)


def test_a_forced_replacement_goes_on_serving(cloud: Cloud) -> None:
    deployment.create(DEPLOYMENT)
    replacing = provider()
    made = deployment.create(DEPLOYMENT, by=replacing)
    deployment.delete(ID, made.outputs, by=replacing)
    assert (cloud.served(), cloud.predict()) == ({"1": 100}, "one")


def test_a_deployment_by_hand_is_imported_and_switched(cloud: Cloud) -> None:
    resources = {"machineSpec": {"machineType": "n1-standard-4"}, "minReplicaCount": 1}
    by_hand = {
        "model": f"{MODEL_NAME}@1",
        "displayName": "by-hand",
        "id": "77",
        "dedicatedResources": resources,
    }
    body = {"deployedModel": by_hand, "trafficSplit": {"0": 100}}
    begun = cloud.locations.endpoints().deployModel(endpoint=ENDPOINT, body=body).execute()
    cloud.locations.endpoints().operations().wait(name=begun["name"]).execute()
    id = f"{ENDPOINT}/deployedModels/77"
    found = deployment.read(id, {}, {})
    assert found is not None
    assert (found.inputs["model"], found.inputs["displayName"]) == (f"{MODEL_NAME}@1", "by-hand")
    news = {**found.inputs, "model": f"{MODEL_NAME}@2", "stepSeconds": 0}
    outputs = deployment.update(id, found.inputs, found.outputs, news)
    assert (cloud.served(), len(cloud.endpoint()["deployedModels"])) == ({"2": 100}, 1)
    assert deployment.update(id, news, outputs, {**news, "spot": False}) == outputs
