"""What becomes of an API server's refusals, and of one that does not answer."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rehearsal.standins.kubernetes.kinds import kind_of
from rehearsal.standins.kubernetes.objects import ApiObjects, Name, Refusal, WorldObjects
from rehearsal.world import Record, World
from tests.unit.scripted_cluster import (
    NOWHERE,
    SERVER,
    Answer,
    ScriptedCluster,
    kinds,
    kubeconfig_file,
    refused,
    scripted_cluster,
)
from tests.unit.standin_object import DEPLOYMENT, NAMESPACE

NAME = Name(kind_of(DEPLOYMENT), "llm", "server")
ROUTE = Name(kind_of("kubernetes:gateway.networking.k8s.io/v1:HTTPRoute"), "llm", "server")
GATEWAYS = "/apis/gateway.networking.k8s.io/v1"
LIVE: dict[str, Any] = {"metadata": {"name": "server", "uid": "1"}}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[ScriptedCluster]:
    with scripted_cluster(tmp_path) as cluster:
        yield cluster


@pytest.fixture
def objects(cluster: ScriptedCluster) -> ApiObjects:
    return ApiObjects(cluster.kubeconfig)


def test_a_new_object_does_not_take_over_one_that_exists(
    cluster: ScriptedCluster, objects: ApiObjects
) -> None:
    cluster.say("GET", SERVER, (200, LIVE))
    cluster.say("PATCH", SERVER, (200, LIVE))
    with pytest.raises(Refusal, match=r'^Deployment.apps "llm/server" already exists$') as caught:
        objects.apply(NAME, {}, new=True)
    assert (caught.value.code, cluster.methods()) == (409, ["GET"])
    assert objects.apply(NAME, {}, new=False) == LIVE


@pytest.mark.parametrize("served", [NOWHERE, kinds(Gateway="gateways")], ids=["no group", "no kind"])
def test_a_kind_that_the_cluster_does_not_have_is_named_until_it_is_defined(
    cluster: ScriptedCluster, objects: ApiObjects, served: Answer
) -> None:
    path = f"{GATEWAYS}/namespaces/llm/httproutes/server"
    cluster.say("GET", GATEWAYS, served, kinds(Gateway="gateways", HTTPRoute="httproutes"))
    cluster.say("PATCH", path, (200, LIVE))
    said = r'^no matches for kind "HTTPRoute" in version "gateway.networking.k8s.io/v1"$'
    with pytest.raises(Refusal, match=said) as caught:
        objects.apply(ROUTE, {}, new=False)
    assert caught.value.code == 404
    assert objects.apply(ROUTE, {}, new=False) == LIVE


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (refused(403, 'deployments.apps "server" is\nforbidden'), 'deployments.apps "server" is forbidden'),
        ((500, "etcd is\n not there\n"), "etcd is not there"),
        ((502, [1]), "[1]"),
    ],
    ids=["a Status", "plain text", "neither"],
)
def test_a_refusal_has_the_clusters_own_words_on_one_line(
    cluster: ScriptedCluster, objects: ApiObjects, answer: Answer, said: str
) -> None:
    for method in ("GET", "PATCH", "DELETE"):
        cluster.say(method, SERVER, answer)
    asks: list[Callable[[], object]] = [
        lambda: objects.get(NAME),
        lambda: objects.apply(NAME, {}, new=False),
        lambda: objects.delete(NAME, "Foreground"),
    ]
    for ask in asks:
        with pytest.raises(Refusal) as caught:
            ask()
        assert (caught.value.code, str(caught.value)) == (answer[0], said)


def test_what_is_gone_is_not_found_and_deleted_already(cluster: ScriptedCluster, objects: ApiObjects) -> None:
    gone = refused(404, 'deployments.apps "server" not found')
    for method in ("GET", "DELETE"):
        cluster.say(method, SERVER, gone)
    assert objects.get(NAME) is None
    objects.delete(NAME, "Foreground")
    assert cluster.methods() == ["GET", "DELETE"]


def test_an_api_server_that_is_gone_is_told_from_one_that_refuses(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # taken, and nobody listens
        path = kubeconfig_file(tmp_path, f"127.0.0.1:{nobody.getsockname()[1]}")
        with pytest.raises(Refusal, match=r"^the cluster cannot be reached: .*refused") as caught:
            ApiObjects(path).get(NAME)
    assert caught.value.code == 503


def test_an_answer_that_breaks_off_is_no_answer(cluster: ScriptedCluster, objects: ApiObjects) -> None:
    cluster.short = 5
    with pytest.raises(Refusal, match=r"^the cluster cannot be reached: ") as caught:
        objects.get(NAME)
    assert caught.value.code == 503


class Raced(World):
    """A world in which somebody else makes each object just after it was looked for."""

    def get(self, name: str) -> Record | None:
        """What was there a moment ago."""
        found = super().get(name)
        if found is None:
            self.insert("kubernetes.object", name, {"made": "by another"})
        return found


def test_of_two_who_make_an_object_at_once_the_later_is_refused(tmp_path: Path) -> None:
    space = Name(kind_of(NAMESPACE), "", "llm")
    with closing(Raced(tmp_path)) as world:
        objects = WorldObjects(world, "projects/p/locations/l/clusters/c")
        with pytest.raises(Refusal, match=r'^Namespace "llm" already exists$') as caught:
            objects.apply(space, {"metadata": {"name": "llm"}}, new=True)
        assert caught.value.code == 409
        assert objects.get(space) == {"made": "by another"}
