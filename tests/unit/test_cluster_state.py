"""What is taken for a cluster that runs, and what a cluster does away with that a killed one has left."""

from __future__ import annotations

import json
from pathlib import Path

import psutil
import pytest

from rehearsal.cloud.tokens import PRINCIPAL
from rehearsal.cloud.workloads import Facts, Workloads, new_id
from rehearsal.cluster.load_balancers import RECORD as BALANCER
from rehearsal.cluster.load_balancers import LoadBalancers, address_of
from rehearsal.cluster.pod_run import KIND, RECORD, Site, end_strays
from rehearsal.cluster.state import STATE_FILE, ClusterState, running, write_state
from rehearsal.runner.process import ProcessHandle, ProcessRunner, launch
from rehearsal.runner.types import WorkloadSpec
from rehearsal.world import World
from tests.unit.cloud_world import LOCATION, PROJECT, REGION

CLUSTER, OTHER = f"{LOCATION}/clusters/llm", f"{LOCATION}/clusters/llm-2"
DIGEST = "sha256:" + "cd" * 32
IMAGE = f"{REGION}-docker.pkg.dev/{PROJECT}/containers/weights@{DIGEST}"
KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: a, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: a, user: {}}]
contexts: [{name: a, context: {cluster: a, user: a}}]
current-context: a
"""


def state(started: float) -> ClusterState:
    """That of a cluster in this very process."""
    return ClusterState(CLUSTER, "https://127.0.0.1:1", "", "kubeconfig", psutil.Process().pid, started)


def test_a_process_that_was_given_the_id_of_a_killed_cluster_is_no_cluster(tmp_path: Path) -> None:
    begun = psutil.Process().create_time()
    write_state(tmp_path, state(begun))
    assert running(tmp_path, CLUSTER) == state(begun)
    assert running(tmp_path, OTHER) is None
    write_state(tmp_path, state(begun - 3600))
    assert running(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", json.dumps({"cluster": CLUSTER})])
def test_a_file_that_says_less_than_it_should_is_no_cluster(tmp_path: Path, text: str) -> None:
    (tmp_path / STATE_FILE).write_text(text)
    assert running(tmp_path) is None


class Sleeper(ProcessRunner):
    """Every container waits for its end."""

    def start(self, spec: WorkloadSpec) -> ProcessHandle:
        """A process that does nothing."""
        return launch(spec, ["sleep", "600"], {}, spec.folder)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Where pods of a cluster run, in a world with an image."""
    world = World(tmp_path)
    world.ensure_project(PROJECT)
    (tmp_path / "images" / DIGEST.removeprefix("sha256:")).mkdir(parents=True)
    images = f"artifactregistry.googleapis.com/{LOCATION}/repositories/containers/dockerImages"
    body = {"uri": IMAGE, "digest": DIGEST, "context": str(tmp_path), "tags": []}
    world.insert("artifactregistry.image", f"{images}/weights@{DIGEST}", body)
    return Site(world, Workloads(world, Sleeper(), "127.0.0.1:1"), PROJECT, CLUSTER)


def start_pod(site: Site, cluster: str) -> psutil.Process:
    """A pod as a cluster's process leaves it that is killed."""
    owner = f"container.googleapis.com/{cluster}/k8s/namespaces/llm/pods/stage"
    site.world.insert(RECORD, owner, {})
    container = {"image": IMAGE, "args": ["stage"], "env": [], "resources": {"limits": {}}}
    template = {"serviceAccount": f"{PRINCIPAL}pods", "volumes": [], "containers": [container]}
    facts = Facts(id=new_id("stage"), owner=owner, kind=KIND, revision="stage", template=template)
    return psutil.Process(int(site.workloads.start(facts, {}).facts.handle["pid"]))


def test_the_pods_of_a_killed_cluster_end_with_the_start_of_the_next_and_no_others_do(site: Site) -> None:
    mine, foreign = start_pod(site, CLUSTER), start_pod(site, OTHER)
    try:
        end_strays(site)
        psutil.wait_procs([mine], timeout=30)
        assert not mine.is_running()
        assert foreign.status() != psutil.STATUS_ZOMBIE
        assert [OTHER in facts.owner for facts in site.workloads.all()] == [True]
        assert [OTHER in record.name for record in site.world.list(RECORD)] == [True]
    finally:
        foreign.kill()


def test_the_load_balancers_of_a_killed_cluster_are_forgotten_and_no_others_are(
    site: Site, tmp_path: Path
) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(KUBECONFIG)
    rules = f"compute.googleapis.com/projects/{PROJECT}/regions/{REGION}/forwardingRules"
    for number, cluster in enumerate((CLUSTER, OTHER)):
        site.world.insert("container.cluster", f"container.googleapis.com/{cluster}", {})
        site.world.insert(BALANCER, f"{rules}/a{number}", {"cluster": cluster})
    LoadBalancers(site.world, CLUSTER, kubeconfig).forget()
    assert [record.body["cluster"] for record in site.world.list(BALANCER)] == [OTHER]
    # A cluster that goes before its load balancers leaves them behind.
    site.world.delete(f"container.googleapis.com/{OTHER}")
    LoadBalancers(site.world, OTHER, kubeconfig).forget()
    assert [record.body["cluster"] for record in site.world.list(BALANCER)] == [OTHER]


def test_a_service_has_the_same_address_every_time_and_nobody_has_it() -> None:
    addresses = {address_of(f"llm/service-{number}") for number in range(500)}
    assert addresses <= {f"198.51.100.{last}" for last in range(1, 255)}
    assert len(addresses) > 200
    assert address_of("llm/a") == address_of("llm/a") != address_of("llm/b")
