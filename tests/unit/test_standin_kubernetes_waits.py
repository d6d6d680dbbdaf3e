"""How waiting for an object of a running cluster ends, other than well."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from providers.base.errors import InitializationFailed, ProviderError
from providers.base.values import Properties
from rehearsal.standins.kubernetes.provider import KubernetesStandin
from rehearsal.world import World
from tests.unit.scripted_cluster import (
    SERVER,
    STAGE,
    Answer,
    ScriptedCluster,
    refused,
    scripted_cluster,
    standin_of,
)
from tests.unit.standin_object import DEPLOYMENT, JOB, Object

MOMENT = 1e-6
"""Seconds that are over when the first answer is there."""
LABELS = {"app": "server"}
SERVING: Properties = {
    "metadata": {"name": "server", "namespace": "llm"},
    "spec": {
        "selector": {"matchLabels": LABELS},
        "template": {
            "metadata": {"labels": LABELS},
            "spec": {"containers": [{"name": "server", "image": "server:v1"}]},
        },
    },
}
WHOLE: Properties = {"apiVersion": "apps/v1", "kind": "Deployment", **SERVING}
STAGING: Properties = {
    "metadata": {"name": "stage", "namespace": "llm"},
    "spec": {"template": {"spec": {"containers": [{"name": "stage", "image": "weights:v1"}]}}},
}
ABSENT = refused(404, "not found")


def deployment(available: int) -> Answer:
    """The Deployment with so many replicas of one available."""
    status: dict[str, Any] = {
        "conditions": [{"type": "Available", "status": "True" if available else "False"}],
        "observedGeneration": 1,
        "replicas": 1,
        "updatedReplicas": 1,
        "availableReplicas": available,
        "unavailableReplicas": 1 - available,
    }
    metadata = {**SERVING["metadata"], "uid": "u", "generation": 1}
    return 200, {**WHOLE, "metadata": metadata, "status": status}


def job(condition: str, **more: str) -> Answer:
    """The Job in a condition."""
    conditions = [{"type": condition, "status": "True", **more}]
    return 200, {**STAGING, "status": {"conditions": conditions}}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ScriptedCluster]:
    with scripted_cluster(tmp_path) as cluster:
        yield cluster


@pytest.fixture
def standin(tmp_path: Path, cluster: ScriptedCluster) -> Iterator[KubernetesStandin]:
    world = World(tmp_path)
    yield standin_of(world, cluster)
    world.close()


@pytest.fixture
def server(standin: KubernetesStandin) -> Object:
    return Object(standin, DEPLOYMENT)


def test_a_deployment_is_waited_for_until_its_replicas_are_available(
    cluster: ScriptedCluster, server: Object
) -> None:
    cluster.say("GET", SERVER, ABSENT, deployment(0), deployment(1))
    cluster.say("PATCH", SERVER, deployment(0))
    assert server.up(SERVING)["status"]["availableReplicas"] == 1
    assert server.id == "llm/server"


def test_one_that_is_not_ready_in_time_is_kept_with_what_is_missing(
    cluster: ScriptedCluster, server: Object
) -> None:
    cluster.say("GET", SERVER, ABSENT, deployment(0), deployment(1))
    cluster.say("PATCH", SERVER, deployment(0))
    with pytest.raises(InitializationFailed) as caught:
        server.up(SERVING, timeout=MOMENT)
    said = "Deployment llm/server is not ready after 1e-06 s: 0 of 1 replicas are available"
    assert list(caught.value.reasons) == [said]
    assert (caught.value.id, caught.value.outputs["metadata"]["uid"]) == ("llm/server", "u")


def test_one_that_is_no_longer_waited_for_is_kept_too(cluster: ScriptedCluster, server: Object) -> None:
    cluster.say("GET", SERVER, ABSENT, deployment(0), deployment(1))
    cluster.say("PATCH", SERVER, deployment(0))
    asyncio.run(server.standin.cancel())
    with pytest.raises(InitializationFailed) as caught:
        server.up(SERVING)
    said = "Deployment llm/server: no longer waited for; 0 of 1 replicas are available"
    assert (caught.value.id, list(caught.value.reasons)) == ("llm/server", [said])


def test_one_that_somebody_deletes_meanwhile_is_not_kept(cluster: ScriptedCluster, server: Object) -> None:
    cluster.say("GET", SERVER, ABSENT, deployment(0), ABSENT)
    cluster.say("PATCH", SERVER, deployment(0))
    with pytest.raises(ProviderError, match=r"^Deployment llm/server was deleted while it was waited for$"):
        server.up(SERVING)


def test_a_job_that_fails_is_not_waited_for_any_longer(
    cluster: ScriptedCluster, standin: KubernetesStandin
) -> None:
    failed = job("Failed", reason="BackoffLimitExceeded", message="Job has reached the backoff limit")
    cluster.say("GET", STAGE, ABSENT, failed, job("Complete"))
    cluster.say("PATCH", STAGE, (200, STAGING))
    with pytest.raises(InitializationFailed) as caught:
        Object(standin, JOB).up(STAGING)
    said = "Job llm/stage: BackoffLimitExceeded: Job has reached the backoff limit"
    assert (caught.value.id, list(caught.value.reasons)) == ("llm/stage", [said])


def test_a_refresh_finds_what_is_not_ready_and_keeps_what_is_there(
    cluster: ScriptedCluster, server: Object
) -> None:
    cluster.say("GET", SERVER, ABSENT, deployment(1))
    cluster.say("PATCH", SERVER, deployment(0))
    server.up(SERVING)
    cluster.say("GET", SERVER, deployment(0))
    with pytest.raises(InitializationFailed) as caught:
        server.read()
    reasons = ["Deployment llm/server: 0 of 1 replicas are available"]
    assert (caught.value.id, list(caught.value.reasons)) == ("llm/server", reasons)
    assert caught.value.outputs["status"]["availableReplicas"] == 0
    assert caught.value.inputs == WHOLE


def test_an_object_that_does_not_go_is_explained(cluster: ScriptedCluster, server: Object) -> None:
    cluster.say("GET", SERVER, deployment(1), ABSENT)
    cluster.say("DELETE", SERVER, (200, {}))
    server.id = "llm/server"
    said = r"^Deployment llm/server is still being deleted: look at its finalizers$"
    with pytest.raises(ProviderError, match=said):
        server.delete(timeout=MOMENT)
    server.delete(timeout=MOMENT)
    assert cluster.methods() == ["DELETE", "GET", "DELETE", "GET"]


def test_a_preview_says_what_the_cluster_would_refuse(cluster: ScriptedCluster, server: Object) -> None:
    cluster.say("GET", SERVER, ABSENT)
    cluster.say("PATCH", SERVER, refused(422, 'Deployment.apps "server" is invalid'))
    with pytest.raises(ProviderError, match=r'^Deployment llm/server: Deployment.apps "server" is invalid$'):
        server.preview(SERVING)
    assert "dryRun=All" in cluster.asked[-1]


@pytest.mark.parametrize("code", [404, 409])
def test_a_preview_passes_over_what_the_update_itself_will_put_right(
    cluster: ScriptedCluster, server: Object, code: int
) -> None:
    cluster.say("GET", SERVER, ABSENT)
    cluster.say("PATCH", SERVER, refused(code, "not yet"))
    assert server.preview(SERVING) == server.check(SERVING)
