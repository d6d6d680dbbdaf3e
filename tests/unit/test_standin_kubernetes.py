"""The stand-in for Kubernetes where no control plane runs: objects are checked and kept in the world."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from providers.base.errors import ProviderError
from providers.base.values import UNKNOWN, Properties, Secret
from rehearsal.cluster.load_balancers import address_of
from rehearsal.standins.gcp.container import idle_facts
from rehearsal.standins.kubernetes.provider import KubernetesStandin
from rehearsal.world import Fault, World
from tests.unit.standin_object import (
    CONFIG_MAP,
    DEPLOYMENT,
    JOB,
    NAMESPACE,
    SECRET,
    SERVICE,
    Object,
    configured,
    kubeconfig,
)
from tests.unit.standin_resource import Resource
from tests.unit.standin_world import ACCEPTED, CLUSTER, CLUSTER_NAME, furnish

LABELS = {"app": "assistant"}
CONTAINER = {
    "name": "server",
    "image": "us-docker.pkg.dev/p/r/server:v1",
    "resources": {"limits": {"google.com/tpu": "8"}, "requests": {"google.com/tpu": "8"}},
}
SERVING: Properties = {
    "metadata": {"name": "assistant", "namespace": "llm", "labels": LABELS},
    "spec": {
        "replicas": 1,
        "selector": {"matchLabels": LABELS},
        "template": {"metadata": {"labels": LABELS}, "spec": {"containers": [CONTAINER]}},
    },
}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    furnish(world)
    dns = {"controlPlaneEndpointsConfig": {"dnsEndpointConfig": {"allowExternalTraffic": True}}}
    world.edit(CLUSTER_NAME, lambda body: {**body, "spec": {**body["spec"], **dns}})
    world.set_setting("retry.wait_seconds", "0")
    yield world
    world.close()


def facts(world: World) -> dict[str, str]:
    record = world.get(CLUSTER_NAME)
    assert record is not None
    return idle_facts(world, record)


@pytest.fixture
def standin(world: World) -> KubernetesStandin:
    return configured(world, {"kubeconfig": Secret(kubeconfig(facts(world)["dnsEndpoint"]))})


@pytest.fixture
def namespace(standin: KubernetesStandin) -> Object:
    made = Object(standin, NAMESPACE)
    made.up({"metadata": {"name": "llm"}})
    return made


def changed(path: str, value: Any) -> Properties:
    """The Deployment with another value in its spec."""
    spec = dict(SERVING["spec"])
    spec[path] = value
    return {**SERVING, "spec": spec}


@pytest.mark.usefixtures("namespace")
def test_an_object_is_made_read_changed_and_removed(standin: KubernetesStandin) -> None:
    server = Object(standin, DEPLOYMENT)
    made = server.up(SERVING)
    assert (server.id, made["apiVersion"], made["kind"]) == ("llm/assistant", "apps/v1", "Deployment")
    assert server.changes(SERVING) == []
    server.refresh()
    assert server.changes(SERVING) == []
    assert server.changes(changed("replicas", 2)) == ["spec.replicas"]
    again = server.up(changed("replicas", 2))
    assert (again["spec"]["replicas"], again["metadata"]["uid"]) == (2, made["metadata"]["uid"])
    server.delete()
    assert server.read() is None
    server.delete()


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({"spec": {**SERVING["spec"], "replicas": "1"}}, "spec.replicas: expected int, got string"),
        ({**SERVING, "spek": {}}, "spek: unknown property (did you mean spec?)"),
        (changed("selector", None), "spec.selector: required property is missing"),
        (
            changed(
                "template", {"spec": {"containers": [{**CONTAINER, "livenessProb": {"periodSeconds": 1}}]}}
            ),
            "spec.template.spec.containers[0].livenessProb: unknown property (did you mean livenessProbe?)",
        ),
        ({**SERVING, "metadata": {"generateName": "a-"}}, "metadata.generateName: not modelled"),
    ],
)
def test_what_the_sdk_does_not_know_is_refused_at_every_depth(
    standin: KubernetesStandin, inputs: Properties, says: str
) -> None:
    (failure,) = Object(standin, DEPLOYMENT).failures(inputs)
    assert failure.startswith(says)


def test_values_that_are_not_known_yet_pass(world: World) -> None:
    standin = configured(world, {"kubeconfig": UNKNOWN})
    inputs = {**SERVING, "metadata": {"name": "assistant", "annotations": {"account": UNKNOWN}}}
    foretold = Object(standin, DEPLOYMENT).preview(inputs)
    assert foretold["metadata"]["annotations"]["account"] is UNKNOWN


@pytest.mark.parametrize(
    "token",
    ["kubernetes:core/v1:ConfigMapPatch", "kubernetes:helm.sh/v3:Release", "kubernetes:yaml/v2:ConfigFile"],
)
def test_what_is_no_whole_object_is_refused_by_name(standin: KubernetesStandin, token: str) -> None:
    with pytest.raises(ProviderError, match=f"not modelled by the rehearsed cloud: {token}"):
        Object(standin, token).failures({})


@pytest.mark.usefixtures("namespace")
def test_an_object_of_a_kind_that_only_a_cluster_knows_is_kept_as_it_is(standin: KubernetesStandin) -> None:
    token = "kubernetes:gateway.networking.k8s.io/v1:Gateway"
    inputs = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "llm", "namespace": "llm"},
        "spec": {"gatewayClassName": "gke-l7-rilb"},
    }
    gateway = Object(standin, token)
    assert gateway.up(inputs)["spec"] == inputs["spec"]
    (failure,) = Object(standin, token).failures({**inputs, "kind": "HTTPRoute"})
    assert failure.startswith("apiVersion and kind must be gateway.networking.k8s.io/v1 and Gateway")


def test_a_name_that_nobody_gave_is_generated_once(standin: KubernetesStandin) -> None:
    maps = Object(standin, CONFIG_MAP, "settings")
    maps.up({"data": {"a": "1"}})
    name = maps.inputs["metadata"]["name"]
    assert name.startswith("settings-")
    assert maps.inputs["metadata"]["annotations"] == {"pulumi.com/autonamed": "true"}
    again = maps.diff({"data": {"a": "2"}})
    assert (list(again.replaces), again.delete_before_replace) == (["data.a"], False)
    assert maps.check({"data": {"a": "2"}})["metadata"]["name"] == name


def _job(version: str) -> Properties:
    return {"spec": {"containers": [{"name": "stage", "image": f"weights:{version}"}]}}


@pytest.mark.parametrize(
    ("token", "old", "new", "path"),
    [
        (JOB, {"template": _job("v1")}, {"template": _job("v2")}, "spec.template"),
        (SERVICE, {"clusterIP": "10.0.0.1"}, {"clusterIP": "10.0.0.2"}, "spec.clusterIP"),
        (
            DEPLOYMENT,
            SERVING["spec"],
            {**SERVING["spec"], "selector": {"matchLabels": {"app": "other"}}},
            "spec.selector",
        ),
    ],
)
@pytest.mark.usefixtures("namespace")
def test_what_cannot_change_replaces_the_object_and_a_fixed_name_goes_first(
    standin: KubernetesStandin, token: str, old: Properties, new: Properties, path: str
) -> None:
    meta = {"name": "assistant", "namespace": "llm"}
    one = Object(standin, token)
    one.up({"metadata": meta, "spec": old})
    answer = one.diff({"metadata": meta, "spec": new})
    assert all(found.startswith(path) for found in answer.replaces)
    assert (bool(answer.replaces), answer.delete_before_replace) == (True, True)


def test_a_secret_stays_secret_and_its_texts_are_no_difference(standin: KubernetesStandin) -> None:
    inputs = {"metadata": {"name": "token"}, "stringData": {"token": Secret("hf_abc")}}
    secret = Object(standin, SECRET)
    outputs = secret.up(inputs)
    assert "hf_abc" not in repr(outputs)
    assert isinstance(outputs["data"], Secret)
    assert secret.changes(inputs) == []
    assert secret.changes({**inputs, "stringData": {"token": Secret("other")}}) == ["data.token"]


@pytest.mark.parametrize("mutable", [True, False])
def test_a_config_map_is_replaced_unless_the_plugin_may_change_it(world: World, mutable: bool) -> None:
    args = {"kubeconfig": kubeconfig(facts(world)["dnsEndpoint"]), "enableConfigMapMutable": mutable}
    maps = Object(configured(world, args), CONFIG_MAP)
    maps.up({"metadata": {"name": "a"}, "data": {"a": "1"}})
    answer = maps.diff({"metadata": {"name": "a"}, "data": {"a": "2"}})
    assert list(answer.replaces) == ([] if mutable else ["data.a"])


@pytest.mark.usefixtures("namespace")
def test_drift_is_found_where_the_program_says_something(standin: KubernetesStandin, world: World) -> None:
    server = Object(standin, DEPLOYMENT)
    server.up(SERVING)
    (record,) = [each for each in world.list("kubernetes.object") if "Deployment" in each.name]

    def drift(body: dict[str, Any]) -> dict[str, Any]:
        spec = {**body["spec"], "replicas": 5, "minReadySeconds": 3}
        return {**body, "spec": spec}

    world.edit(record.name, drift)
    server.refresh()
    assert server.changes(SERVING) == ["spec.replicas"]


def test_an_object_needs_its_namespace(standin: KubernetesStandin) -> None:
    with pytest.raises(ProviderError, match='Deployment llm/assistant: namespaces "llm" not found'):
        Object(standin, DEPLOYMENT).up(SERVING)


@pytest.mark.usefixtures("namespace")
def test_an_object_that_exists_is_not_adopted(standin: KubernetesStandin) -> None:
    Object(standin, DEPLOYMENT).up(SERVING)
    with pytest.raises(ProviderError, match='"llm/assistant" already exists'):
        Object(standin, DEPLOYMENT).up(SERVING)


def test_a_namespace_goes_with_what_is_in_it(standin: KubernetesStandin, namespace: Object) -> None:
    server = Object(standin, DEPLOYMENT)
    server.up(SERVING)
    namespace.delete()
    assert server.read() is None


def test_quantities_that_say_the_same_are_no_difference(
    standin: KubernetesStandin, namespace: Object
) -> None:
    assert namespace.id == "llm"

    def limited(cpu: str) -> Properties:
        return changed(
            "template",
            {"spec": {"containers": [{**CONTAINER, "resources": {"limits": {"cpu": cpu}}}]}},
        )

    server = Object(standin, DEPLOYMENT)
    server.up(limited("1"))
    assert server.changes(limited("1000m")) == []
    assert server.changes(limited("2")) == ["spec.template.spec.containers[0].resources.limits.cpu"]


@pytest.mark.usefixtures("namespace")
def test_an_import_needs_no_change(standin: KubernetesStandin) -> None:
    server = Object(standin, DEPLOYMENT)
    server.up(SERVING)
    found = server.read(imported=True)
    assert found is not None
    server.inputs, server.outputs = found.inputs, found.outputs
    assert server.changes(SERVING) == []


def test_faults_reach_objects_too(standin: KubernetesStandin, world: World) -> None:
    world.faults.add(Fault("503", operation="create", times=2))
    Object(standin, NAMESPACE).up({"metadata": {"name": "llm"}})
    assert [call.outcome for call in world.calls()] == ["503", "503", "ok"]


@pytest.mark.usefixtures("namespace")
def test_a_load_balancer_has_the_address_that_a_program_reads(standin: KubernetesStandin) -> None:
    inputs = {
        "metadata": {"name": "assistant", "namespace": "llm"},
        "spec": {"type": "LoadBalancer", "selector": LABELS, "ports": [{"port": 8000}]},
    }
    service = Object(standin, SERVICE)
    (ingress,) = service.up(inputs)["status"]["loadBalancer"]["ingress"]
    assert ingress["ip"] == address_of("llm/assistant")
    assert service.changes(inputs) == []
    inside = service.up({**inputs, "spec": {**inputs["spec"], "type": "ClusterIP"}})
    assert "status" not in inside


def test_deleting_the_cluster_deletes_its_objects(world: World) -> None:
    cluster = Resource(world, CLUSTER)
    outputs = cluster.up({**ACCEPTED[CLUSTER], "deletionProtection": False})
    host = outputs["controlPlaneEndpointsConfig"]["dnsEndpointConfig"]["endpoint"]
    Object(configured(world, {"kubeconfig": kubeconfig(host)}), NAMESPACE).up({"metadata": {"name": "llm"}})
    cluster.delete()
    assert world.list("kubernetes.object") == []
    with pytest.raises(ProviderError, match="unreachable: no cluster of the rehearsed cloud has the address"):
        Object(configured(world, {"kubeconfig": kubeconfig(host)}), NAMESPACE).up({"metadata": {"name": "a"}})
