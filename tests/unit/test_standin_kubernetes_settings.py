"""The Kubernetes plugin's own settings: which cluster, and what a change of them replaces."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from providers.base.errors import ProviderError
from providers.base.provider import DiffRequest, DiffResponse
from providers.base.values import UNKNOWN, Properties
from rehearsal.standins.gcp.container import idle_facts
from rehearsal.standins.kubernetes.provider import KubernetesStandin
from rehearsal.world import World
from tests.unit.standin_object import NAMESPACE, SERVICE, Object, configured, kubeconfig
from tests.unit.standin_world import CLUSTER_NAME, furnish

ONE, OTHER = kubeconfig("gke-1.us-central1.gke.goog"), kubeconfig("gke-2.us-central1.gke.goog")
OTHER_USER = ONE.replace("Never", "IfAvailable")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    furnish(world)
    yield world
    world.close()


def facts(world: World) -> dict[str, str]:
    record = world.get(CLUSTER_NAME)
    assert record is not None
    return idle_facts(world, record)


def compared(world: World, olds: Properties, news: Properties) -> DiffResponse:
    standin = KubernetesStandin("kubernetes", "4.34.2", world)
    request = DiffRequest("u", "pulumi:providers:kubernetes", "id", olds, olds, news)
    return asyncio.run(standin.diff_config(request))


@pytest.mark.parametrize(
    ("olds", "news", "replaces"),
    [
        ({"kubeconfig": ONE}, {"kubeconfig": ONE}, []),
        ({"kubeconfig": ONE}, {"kubeconfig": OTHER_USER}, []),
        ({"kubeconfig": ONE}, {"kubeconfig": OTHER}, ["kubeconfig"]),
        ({"kubeconfig": ONE}, {"kubeconfig": UNKNOWN}, ["kubeconfig"]),
        ({"kubeconfig": ONE}, {"kubeconfig": ONE, "namespace": "llm"}, []),
        ({"kubeconfig": ONE}, {"kubeconfig": ONE, "clusterIdentifier": "a"}, []),
        (
            {"kubeconfig": ONE, "clusterIdentifier": "a"},
            {"kubeconfig": ONE, "clusterIdentifier": "b"},
            ["clusterIdentifier"],
        ),
        (
            {"kubeconfig": ONE, "clusterIdentifier": "a"},
            {"kubeconfig": OTHER, "clusterIdentifier": "a"},
            [],
        ),
        (
            {"kubeconfig": ONE, "clusterIdentifier": "a"},
            {"kubeconfig": UNKNOWN, "clusterIdentifier": "a"},
            [],
        ),
    ],
)
def test_only_another_cluster_replaces_the_plugin_and_an_identifier_decides_alone(
    world: World, olds: Properties, news: Properties, replaces: list[str]
) -> None:
    assert list(compared(world, olds, news).replaces) == replaces


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no kubeconfig is given"),
        ("{", "the kubeconfig cannot be read"),
        ("a: b", "the kubeconfig names no cluster"),
        (ONE, "no cluster of the rehearsed cloud has the address gke-1.us-central1.gke.goog"),
        (ONE.replace("https", "http"), "does not begin with https://"),
        (ONE.replace("current-context: llm", "current-context: other"), "has no context 'other'"),
        (ONE.replace("current-context: llm\n", ""), "the kubeconfig has no current-context"),
    ],
)
def test_a_kubeconfig_that_leads_nowhere_is_explained(world: World, text: str, says: str) -> None:
    made = Object(configured(world, {"kubeconfig": text}), NAMESPACE)
    with pytest.raises(ProviderError, match="configured Kubernetes cluster is unreachable") as caught:
        made.up({"metadata": {"name": "llm"}})
    assert says in str(caught.value)


def test_the_dns_endpoint_answers_only_where_the_cluster_lets_it(world: World) -> None:
    made = Object(configured(world, {"kubeconfig": kubeconfig(facts(world)["dnsEndpoint"])}), NAMESPACE)
    with pytest.raises(ProviderError, match="allowExternalTraffic is not true"):
        made.up({"metadata": {"name": "llm"}})


def test_an_address_needs_the_clusters_own_certificate(world: World) -> None:
    found = facts(world)
    bare = Object(configured(world, {"kubeconfig": kubeconfig(found["endpoint"])}), NAMESPACE)
    with pytest.raises(ProviderError, match="certificate signed by unknown authority"):
        bare.up({"metadata": {"name": "llm"}})
    text = kubeconfig(found["endpoint"], found["clusterCaCertificate"])
    Object(configured(world, {"kubeconfig": text}), NAMESPACE).up({"metadata": {"name": "llm"}})


def test_a_kubeconfig_may_be_a_file(world: World, tmp_path: Path) -> None:
    found = facts(world)
    path = tmp_path / "config"
    path.write_text(kubeconfig(found["endpoint"], found["clusterCaCertificate"]))
    Object(configured(world, {"kubeconfig": str(path)}), NAMESPACE).up({"metadata": {"name": "llm"}})


def test_the_namespace_is_the_plugins_else_the_contexts_else_the_default_one(world: World) -> None:
    found = facts(world)
    text = kubeconfig(found["endpoint"], found["clusterCaCertificate"], namespace="from-context")
    inputs = {"metadata": {"name": "a"}}
    for args, wanted in (({}, "from-context"), ({"namespace": "given"}, "given")):
        checked = Object(configured(world, {"kubeconfig": text, **args}), SERVICE).check(inputs)
        assert checked["metadata"]["namespace"] == wanted
    without = kubeconfig(found["endpoint"], found["clusterCaCertificate"])
    checked = Object(configured(world, {"kubeconfig": without}), SERVICE).check(inputs)
    assert "namespace" not in checked["metadata"]
    cluster_wide = Object(configured(world, {"kubeconfig": text}), NAMESPACE).check(inputs)
    assert "namespace" not in cluster_wide["metadata"]
