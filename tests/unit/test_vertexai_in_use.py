"""A model that is still deployed, and an endpoint at which somebody else has deployed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from providers.base.errors import InitializationFailed, ProviderError
from providers.base.provider import CreateResponse, DeleteRequest
from providers.modelops.polling import TimedOut
from providers.modelops.vertexai.rollout import Rollout
from rehearsal.cloud.aiplatform.operations import SECONDS
from tests.unit.cloud_world import Running
from tests.unit.vertexai import DEPLOYMENT, ENDPOINT, MODEL, MODEL_NAME, Cloud, Engine, provider

model, deployment = Engine("Model"), Engine("ModelDeployment")
other = Engine("ModelDeployment", "other")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Cloud.started(tmp_path_factory.mktemp("vertex")) as started:
        yield started


@pytest.fixture
def cloud(running: Running) -> Iterator[Cloud]:
    """One with an endpoint and a model."""
    with Cloud.used(running) as used:
        used.make_endpoint()
        model.create(MODEL)
        yield used


def deploy_by_hand(cloud: Cloud, id: str = "77", shown: str = "by-hand") -> None:
    resources = {"machineSpec": {"machineType": "n1-standard-4"}, "minReplicaCount": 1}
    deployed = {"model": f"{MODEL_NAME}@1", "displayName": shown, "id": id, "dedicatedResources": resources}
    body = {"deployedModel": deployed, "trafficSplit": {"0": 100, **dict.fromkeys(cloud.split(), 0)}}
    begun = cloud.locations.endpoints().deployModel(endpoint=ENDPOINT, body=body).execute()
    cloud.locations.endpoints().operations().wait(name=begun["name"]).execute()


def deletion(of: Engine, made: CreateResponse, timeout: float | None = None) -> DeleteRequest:
    return DeleteRequest(of.urn, of.type, of.name, made.id, {}, made.outputs, timeout)


def uploaded() -> CreateResponse:
    found = model.read(MODEL_NAME, model.check(MODEL)[0], {})
    assert found is not None
    return CreateResponse(found.id, found.outputs)


def test_a_model_whose_deployment_is_deleted_at_the_same_time_is_deleted_after_it(
    cloud: Cloud,
) -> None:
    made = deployment.create(DEPLOYMENT)
    own, first = provider(), deletion(model, uploaded())

    async def both() -> None:
        deleting = asyncio.create_task(own.delete(first))
        while cloud.calls("listVersions") < 2:
            assert not deleting.done()
            await asyncio.sleep(0.02)
        await own.delete(deletion(deployment, made))
        await deleting

    asyncio.run(both())
    assert "deployedModels" not in cloud.endpoint()
    assert model.read(MODEL_NAME, {}, {}) is None
    deletes = [call for call in cloud.running.world.calls() if call.operation.endswith("models.delete")]
    assert [call.outcome for call in deletes] == ["ok"]


def test_a_model_that_nobody_undeploys_is_waited_for_as_long_as_its_time_out(cloud: Cloud) -> None:
    made = deployment.create(DEPLOYMENT)
    id = made.outputs["deployedModelId"]
    said = rf"deleting model .*: still deployed at \S+/1234567890 \({id}\)"
    with pytest.raises(TimedOut, match=said) as caught:
        asyncio.run(provider().delete(deletion(model, uploaded(), 0.3)))
    assert f"--deployed-model-id={id}" in str(caught.value)
    assert cloud.predict() == "one"


def test_a_model_that_somebody_has_deployed_by_hand_is_refused_at_once_and_the_endpoint_is_named(
    cloud: Cloud,
) -> None:
    deploy_by_hand(cloud)
    said = r"at \S+/1234567890 \(77\); undeploy it first, .* undeploy-model \S+ --deployed-model-id=77"
    with pytest.raises(ProviderError, match=said) as caught:
        asyncio.run(provider().delete(deletion(model, uploaded(), 3600)))
    assert not isinstance(caught.value, TimedOut)
    assert cloud.calls("delete") == 0


def test_what_somebody_undeploys_by_hand_is_waited_for(cloud: Cloud) -> None:
    deploy_by_hand(cloud)
    cloud.running.world.set_setting(SECONDS, "1")
    body = {"deployedModelId": "77"}
    cloud.locations.endpoints().undeployModel(endpoint=ENDPOINT, body=body).execute()
    asyncio.run(provider().delete(deletion(model, uploaded())))
    assert model.read(MODEL_NAME, {}, {}) is None


def test_two_deployments_do_not_take_the_traffic_of_one_endpoint_from_each_other(cloud: Cloud) -> None:
    deployment.create(DEPLOYMENT)
    said = r"endpoints/1234567890 has assistant-a79f0d52 \(\d{10}\) of another ModelDeployment"
    with pytest.raises(ProviderError, match=said) as caught:
        other.create({**DEPLOYMENT, "displayName": "other"})
    assert "`aliases`" in str(caught.value)
    assert not isinstance(caught.value, InitializationFailed)
    assert (cloud.served(), cloud.calls("deployModel")) == ({"1": 100}, 1)


def test_of_two_that_begin_at_the_same_moment_none_takes_what_the_other_has(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    shift = Rollout.shift

    async def overtaken(self: Rollout, id: str) -> None:
        await asyncio.to_thread(deploy_by_hand, Cloud.client(cloud.running), "1234567891", "other-0123abcd")
        await shift(self, id)

    monkeypatch.setattr(Rollout, "shift", overtaken)
    with pytest.raises(InitializationFailed, match=r"has other-0123abcd \(1234567891\) of another") as caught:
        deployment.create(DEPLOYMENT)
    assert cloud.split() == {"1234567891": 100}
    deployment.delete(f"{ENDPOINT}/deployedModels/x", caught.value.outputs)
    assert [each["id"] for each in cloud.endpoint()["deployedModels"]] == ["1234567891"]


def test_what_was_deployed_by_hand_gives_its_traffic_to_the_resource(cloud: Cloud) -> None:
    # A display name may end like a resource's: its id does not have the form of one.
    deploy_by_hand(cloud, "77", "assistant-20260101")
    made = deployment.create(DEPLOYMENT)
    assert cloud.split() == {made.outputs["deployedModelId"]: 100}
