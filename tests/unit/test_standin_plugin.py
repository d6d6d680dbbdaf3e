"""The stand-in as a plugin: storms, services that do not start, its stamp, states made elsewhere."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from providers.base.errors import InitializationFailed, ProviderError
from providers.base.provider import CheckRequest
from providers.base.values import Properties
from rehearsal.cloud import client
from rehearsal.standins.gcp.provider import GcpStandin
from rehearsal.world import Fault, World
from tests.unit.standin_resource import Resource
from tests.unit.standin_world import ACCEPTED, BUCKET, PROJECT, REGION, SECRET_TYPE, SERVICE, furnish


@pytest.fixture(autouse=True)
def _no_workloads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMSTACK_RUNNER", "none")


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    furnish(world)
    world.set_setting("retry.wait_seconds", "0")
    return world


def test_storms_are_waited_out_and_a_missing_quota_is_not(world: World) -> None:
    world.faults.add(Fault("503", operation="create", times=3))
    Resource(world, BUCKET).up(ACCEPTED[BUCKET])
    assert [call.outcome for call in world.calls()] == ["503", "503", "503", "ok"]
    world.faults.clear()
    world.faults.add(Fault("quota", operation="create"))
    with pytest.raises(ProviderError, match="Error 429: Quota exceeded"):
        Resource(world, SECRET_TYPE).up(ACCEPTED[SECRET_TYPE])


class _Cloud:
    """The cloud process, as far as the stand-in talks to it."""

    ready = False
    removed: list[str]

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url

    def reconcile_service(self, name: str, timeout: float) -> Any:
        return client.Outcome(self.ready, "http://127.0.0.1:1", "Traceback: no manifest")

    def remove_service(self, name: str) -> None:
        type(self).removed.append(name)


def test_a_service_that_does_not_start_keeps_its_id_and_is_updated_next_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LLMSTACK_RUNNER")
    monkeypatch.setattr(client, "ensure_running", lambda folder: "http://127.0.0.1:1")
    monkeypatch.setattr(client, "CloudClient", _Cloud)
    monkeypatch.setattr(_Cloud, "removed", [], raising=False)
    resource = Resource(world, SERVICE)
    unprotected = {**ACCEPTED[SERVICE], "deletionProtection": False}
    with pytest.raises(
        InitializationFailed, match=r"is not ready and cannot serve traffic.*no manifest"
    ) as caught:
        resource.up(unprotected)
    resource.id, resource.outputs = caught.value.id, caught.value.outputs
    assert resource.id == f"projects/{PROJECT}/locations/{REGION}/services/assistant"
    monkeypatch.setattr(_Cloud, "ready", True)
    resource.up(unprotected)
    resource.delete()
    assert _Cloud.removed == [f"run.googleapis.com/{resource.id}"]


@pytest.mark.parametrize(
    ("ready", "says"),
    [
        (True, "vanished from the rehearsed cloud while it was being made"),
        (False, r"Error 404: Resource '.*/services/assistant' was not found"),
    ],
)
def test_a_service_that_is_deleted_while_it_starts_is_missed(
    ready: bool, says: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Deleting(_Cloud):
        def reconcile_service(self, name: str, timeout: float) -> Any:
            world.delete(name)
            return client.Outcome(ready, "http://127.0.0.1:1", "")

    monkeypatch.delenv("LLMSTACK_RUNNER")
    monkeypatch.setattr(client, "ensure_running", lambda folder: "http://127.0.0.1:1")
    monkeypatch.setattr(client, "CloudClient", Deleting)
    with pytest.raises(ProviderError, match=says):
        Resource(world, SERVICE).up(ACCEPTED[SERVICE])


def test_a_service_stays_known_when_the_cloud_process_cannot_be_reached(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(folder: Path) -> str:
        raise client.CloudError("the cloud process does not start: port taken")

    monkeypatch.delenv("LLMSTACK_RUNNER")
    monkeypatch.setattr(client, "ensure_running", unreachable)
    with pytest.raises(InitializationFailed, match="port taken") as caught:
        Resource(world, SERVICE).up(ACCEPTED[SERVICE])
    assert caught.value.id.endswith("/services/assistant")


@pytest.mark.parametrize(
    ("olds", "says"),
    [({"project": "p"}, "made with the real provider"), ({"rehearsal": "other"}, "another rehearsed cloud")],
)
def test_a_state_that_was_made_elsewhere_is_refused(world: World, olds: Properties, says: str) -> None:
    standin = GcpStandin("gcp", "10.2.0", world)
    answer = asyncio.run(standin.check_config(CheckRequest("u", "pulumi:providers:gcp", "n", olds, {})))
    assert says in answer.failures[0].reason


def test_the_stamp_is_the_same_every_time(world: World) -> None:
    standin = GcpStandin("gcp", "10.2.0", world)
    first = asyncio.run(standin.check_config(CheckRequest("u", "t", "n", {}, {"project": "p"}))).inputs
    again = asyncio.run(standin.check_config(CheckRequest("u", "t", "n", first, {"project": "p"})))
    assert (again.inputs, again.failures) == (first, ())
    assert first.keys() == {"project", "rehearsal"}
