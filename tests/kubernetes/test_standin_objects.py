"""Both stand-ins with a control plane: pools become nodes, objects go to its API and are waited for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from providers.base.errors import InitializationFailed, ProviderError
from providers.base.values import Properties
from rehearsal.cluster.client import RehearsedCluster
from rehearsal.cluster.load_balancers import RECORD as BALANCER
from rehearsal.cluster.load_balancers import address_of
from rehearsal.cluster.machines import machine
from rehearsal.standins.kubernetes.provider import KubernetesStandin
from tests.kubernetes.stage import until
from tests.kubernetes.test_placement_scheduler import CPU, TPU, job, server
from tests.unit.cloud_world import Running
from tests.unit.standin_object import (
    CONFIG_MAP,
    DEPLOYMENT,
    JOB,
    NAMESPACE,
    SERVICE,
    Object,
    configured,
    kubeconfig,
)
from tests.unit.standin_resource import Resource
from tests.unit.standin_world import CLUSTER, POOL, PROJECT, REGION, furnish

NAME = f"projects/{PROJECT}/locations/{REGION}/clusters/llm"
SPEC: Properties = {
    "name": "llm",
    "location": REGION,
    "initialNodeCount": 1,
    "removeDefaultNodePool": True,
    "deletionProtection": False,
    "controlPlaneEndpointsConfig": {"dnsEndpointConfig": {"allowExternalTraffic": True}},
}

PORTS = [{"port": 9000}]


def pool(name: str, machine: str) -> Properties:
    """A pool of one node."""
    return {
        "name": name,
        "cluster": NAME,
        "nodeCount": 1,
        "nodeLocations": [f"{REGION}-a"],
        "nodeConfig": {"machineType": machine},
    }


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A rehearsed cloud with a cluster whose control plane runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMSTACK_RUNNER", "process")
        running = Running(tmp_path_factory.mktemp("pools") / "world")
        furnish(running.world)
        plane = RehearsedCluster(running.folder, NAME, pools=True)
        yield running
        plane.stop()
        running.stop()


@pytest.fixture(scope="module")
def cluster(running: Running) -> Resource:
    """The cluster, with a TPU pool and a CPU pool."""
    cluster = Resource(running.world, CLUSTER)
    cluster.up(SPEC)
    for each in (TPU, CPU):
        Resource(running.world, POOL).up(pool(each.name, each.machine))
    return cluster


@pytest.fixture(scope="module")
def standin(running: Running, cluster: Resource) -> KubernetesStandin:
    """The Kubernetes plugin, configured from the cluster's outputs."""
    dns = cluster.outputs["controlPlaneEndpointsConfig"]["dnsEndpointConfig"]["endpoint"]
    assert dns == cluster.outputs["endpoint"]
    text = kubeconfig(dns, cluster.outputs["masterAuth"]["clusterCaCertificate"])
    standin = configured(running.world, {"kubeconfig": text})
    Object(standin, NAMESPACE).up({"metadata": {"name": "llm"}})
    return standin


def inputs(manifest: dict[str, Any]) -> Properties:
    """The manifest as inputs of the SDK's class."""
    return {key: value for key, value in manifest.items() if key not in ("apiVersion", "kind")}


def test_a_server_on_a_simulated_tpu_node_is_waited_for_and_needs_no_second_update(
    standin: KubernetesStandin,
) -> None:
    ports = {"selector": {"app": "assistant"}, "ports": PORTS}
    address = Object(standin, SERVICE)
    deployment = Object(standin, DEPLOYMENT)
    try:
        made = deployment.up(inputs(server()), timeout=60)
        assert made["status"]["availableReplicas"] == 1
        address.up({"metadata": {"name": "assistant", "namespace": "llm"}, "spec": ports}, timeout=60)
        assert deployment.changes(inputs(server())) == []
        deployment.refresh()
        assert deployment.changes(inputs(server())) == []
        with pytest.raises(ProviderError, match='"llm/assistant" already exists'):
            Object(standin, DEPLOYMENT).up(inputs(server()))
        Object(standin, DEPLOYMENT).preview({"metadata": {"name": "other"}, **inputs(server())})
    finally:
        address.delete()
        deployment.delete()
    assert deployment.read() is None


def test_an_internal_load_balancer_gets_an_address_and_is_gone_before_its_service(
    running: Running, standin: KubernetesStandin
) -> None:
    meta = {
        "name": "assistant",
        "namespace": "llm",
        "annotations": {"networking.gke.io/load-balancer-type": "Internal"},
    }

    def service(kind: str) -> Properties:
        return {"metadata": meta, "spec": {"type": kind, "selector": {"app": "assistant"}, "ports": PORTS}}

    def balancers() -> list[str]:
        return [record.body["description"] for record in running.world.list(BALANCER)]

    deployment, address = Object(standin, DEPLOYMENT), Object(standin, SERVICE)
    try:
        deployment.up(inputs(server()), timeout=60)
        for _ in range(2):
            made = address.up(service("LoadBalancer"), timeout=60)
            assert made["status"]["loadBalancer"]["ingress"][0]["ip"] == address_of("llm/assistant")
            assert balancers() == ["llm/assistant"]
            address.refresh()
            assert address.changes(service("LoadBalancer")) == []
            address.up(service("ClusterIP"), timeout=60)
            until("the end of the load balancer", lambda: not balancers())
        address.up(service("LoadBalancer"), timeout=60)
        address.delete()
        assert balancers() == []
    finally:
        address.delete()
        deployment.delete()


def test_what_no_node_takes_keeps_its_id_and_says_what_the_scheduler_said(standin: KubernetesStandin) -> None:
    wrong = server(topology="4x4")
    wrong["metadata"]["annotations"] = {"pulumi.com/timeoutSeconds": "3"}
    deployment = Object(standin, DEPLOYMENT)
    with pytest.raises(InitializationFailed) as caught:
        deployment.up(inputs(wrong))
    assert "is not ready after 3 s" in str(caught.value)
    assert "didn't match Pod's node affinity/selector" in str(caught.value)
    deployment.id, deployment.outputs = caught.value.id, caught.value.outputs
    assert deployment.id == "llm/assistant"
    deployment.delete()


def test_a_job_goes_to_the_cpu_pools_own_node_which_misses_its_image(standin: KubernetesStandin) -> None:
    staging = Object(standin, JOB)
    with pytest.raises(InitializationFailed) as caught:
        staging.up(inputs(job()), timeout=5)
    staging.id, staging.outputs = caught.value.id, caught.value.outputs
    assert "Job llm/stage is not ready after 5 s" in str(caught.value)
    assert "ImagePullBackOff: Image 'weights:v1' not found" in str(caught.value)
    staging.delete()


def test_skip_await_does_not_wait(standin: KubernetesStandin) -> None:
    wrong = server(topology="4x4")
    wrong["metadata"]["annotations"] = {"pulumi.com/skipAwait": "true"}
    deployment = Object(standin, DEPLOYMENT)
    deployment.up(inputs(wrong))
    deployment.delete()
    until("the end", lambda: deployment.read() is None)


def test_the_cluster_refuses_in_the_preview_what_it_would_refuse(standin: KubernetesStandin) -> None:
    wrong = server()
    wrong["spec"]["template"]["metadata"]["labels"] = {"app": "other"}
    with pytest.raises(
        ProviderError, match=r"Deployment llm/assistant: .*`selector` does not match template"
    ):
        Object(standin, DEPLOYMENT).preview(inputs(wrong))
    elsewhere = {"metadata": {"name": "a", "namespace": "not-there-yet"}, "data": {"a": "1"}}
    assert Object(standin, CONFIG_MAP).preview(elsewhere)["data"] == {"a": "1"}


def test_drift_is_found_and_repaired(standin: KubernetesStandin) -> None:
    settings = Object(standin, CONFIG_MAP)
    wanted = {"metadata": {"name": "settings", "namespace": "llm", "labels": {"a": "b"}}, "data": {"a": "1"}}
    settings.up(wanted)
    other = Object(standin, CONFIG_MAP)
    other.id, other.inputs, other.outputs = settings.id, settings.inputs, settings.outputs
    other.up({**wanted, "data": {"a": "2"}})
    settings.refresh()
    assert settings.changes(wanted) == ["data.a"]
    settings.up(wanted)
    settings.refresh()
    assert settings.changes(wanted) == []
    settings.delete()


def test_a_custom_kind_of_gke_is_taken_and_an_unknown_one_is_not(standin: KubernetesStandin) -> None:
    meta = {"name": "assistant", "namespace": "llm"}
    scraped = Object(standin, "kubernetes:monitoring.googleapis.com/v1:PodMonitoring")
    spec = {"selector": {"matchLabels": {"app": "assistant"}}, "endpoints": [{"port": "metrics"}]}
    custom = {"apiVersion": "monitoring.googleapis.com/v1", "kind": "PodMonitoring"}
    scraped.up({**custom, "metadata": meta, "spec": spec})
    assert scraped.changes({**custom, "metadata": meta, "spec": spec}) == []
    scraped.delete()
    unknown = Object(standin, "kubernetes:example.org/v1:Toy")
    with pytest.raises(ProviderError, match=r'no matches for kind "Toy" in version "example\.org/v1"'):
        unknown.up({"apiVersion": "example.org/v1", "kind": "Toy", "metadata": meta})


def test_a_pool_that_is_removed_takes_its_nodes_along(running: Running, standin: KubernetesStandin) -> None:
    extra = Resource(running.world, POOL)
    extra.up(pool("extra-tpu", "ct6e-standard-4t"))
    apis = standin._objects()

    def nodes() -> set[str]:
        listed = apis.listed("/api/v1/nodes")
        return {each["metadata"]["labels"]["cloud.google.com/gke-nodepool"] for each in listed}

    until("the node", lambda: nodes() == {TPU.name, CPU.name, "extra-tpu"})
    extra.delete()
    until("the node's end", lambda: nodes() == {TPU.name, CPU.name})


@pytest.mark.parametrize(("first", "other"), [("e2-standard-2", "e2-standard-8"), ("ct6e-standard-1t",) * 2])
def test_a_pool_that_is_made_anew_at_once_has_the_nodes_of_the_new_one(
    running: Running, standin: KubernetesStandin, first: str, other: str
) -> None:
    extra = Resource(running.world, POOL)
    extra.up(pool("extra", first))

    def node() -> dict[str, Any]:
        listed = standin._objects().listed(
            "/api/v1/nodes", labelSelector="cloud.google.com/gke-nodepool=extra"
        )
        return listed[0] if listed else {}

    until("the node", node)
    renewed = pool("extra", other)
    renewed["nodeConfig"]["labels"] = {"made": "anew"}
    # Between two looks at the pools one is removed and the other made.
    running.world.edit(
        f"container.googleapis.com/{NAME}/nodePools/extra", lambda body: {**body, "spec": renewed}
    )
    until("the other node", lambda: node().get("metadata", {}).get("labels", {}).get("made") == "anew")
    until("its machine", lambda: node()["status"].get("capacity", {}).get("cpu") == cpus(other))
    extra.delete()
    until("the node's end", lambda: not node())


def cpus(name: str) -> str:
    """vCPUs of a machine type."""
    found = machine(name)
    assert found is not None
    return str(found.cpu)


def test_a_control_plane_that_starts_later_is_no_other_cluster(running: Running, cluster: Resource) -> None:
    from rehearsal.standins.gcp.container import idle_facts

    record = running.world.get(f"container.googleapis.com/{NAME}")
    assert record is not None
    before = configured(
        running.world, {"kubeconfig": kubeconfig(idle_facts(running.world, record)["dnsEndpoint"])}
    )
    found = Object(before, NAMESPACE)
    found.id = "llm"
    assert found.read(imported=True) is not None
    assert cluster.changes(SPEC) == []
