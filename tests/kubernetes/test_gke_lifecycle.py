"""Stacks on TPUs from first up to destroy: real engine, real control plane, a pod that really stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.engine.lab import STACK, Lab, without_components
from tests.kubernetes.jetstream_models import GEMMA
from tests.kubernetes.stage import until
from tests.kubernetes.tpu_stack import (
    LLAMA_NAMESPACE,
    SERVERS,
    Attendance,
    Cluster,
    ask,
    left_in_the_cloud,
    removed,
    staged,
    tpu_stack,
)

SHARED = """
  gcp:project: llm-test
  gcp:region: us-west4
  llm:environment: local
  llm:hubTokenSecret: hub-token
  llm:deployments:
    llama:
      topology: gke-tpu
      model: meta-llama/Llama-2-7b-hf
      engine: jetstream
      tpu: {topology: 2x4, machine: ct5lp-hightpu-8t}
"""
WITH_A_SPARE_SLICE = f"{SHARED}      scaling: {{min: 1, surge: 1}}\n"
ON_DISKS = f"""{SHARED}
      scaling: {{min: 2}}
      weights: {{volume: disk}}
      access: {{expose: internal, sourceRanges: [10.0.0.0/8]}}
"""
AND_GEMMA = """
    gemma:
      topology: gke-tpu
      model: google/gemma-2b
"""
POOL = f"container.googleapis.com/projects/llm-test/locations/us-west4/clusters/{STACK}/nodePools/tpu-llama"
COSTLY = ("gcp:container/cluster:Cluster", "gcp:container/nodePool:NodePool", "gcp:compute/router:Router")
"""What a model switch leaves alone, beside the namespace and whom pods are."""


def assert_unchanged(lab: Lab) -> None:
    """Neither another `up` nor a look at what there is finds anything to do."""
    second = lab.up()
    assert not second.failed, second.output
    assert second.changed() == {}
    refreshed = lab.refresh()
    assert not refreshed.failed, refreshed.output
    assert refreshed.changed() == {}


def assert_destroyed(lab: Lab, *chains: tuple[str, ...]) -> None:
    """Nothing stays, and of each chain the earlier went first."""
    cluster = Cluster(lab)
    before = len(removed(lab))
    destroyed = lab.destroy()
    assert not destroyed.failed, destroyed.output
    order = removed(lab)[before:]
    for chain in chains:
        assert [each for each in order if each in chain] == list(chain), order
    until("the end of the nodes", lambda: not cluster.left())
    assert left_in_the_cloud(lab) == []


def test_a_stack_on_tpus_from_its_first_up_to_its_destroy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tpu_stack(tmp_path, WITH_A_SPARE_SLICE, monkeypatch) as (lab, _):
        first = lab.up()
        assert not first.failed, first.output
        assert set(first.changed().values()) == {"create"}
        cluster = Cluster(lab)
        (job,) = cluster.jobs()
        assert job.status.succeeded == 1
        (stager,) = cluster.pods(f"batch.kubernetes.io/job-name={job.metadata.name}")
        assert cluster.pool(stager) == "cpu"
        assert {name.rsplit("/", 1)[1] for name in staged(lab)} == {
            "manifest.json",
            "model.safetensors",
            "tokenizer.model",
        }
        (server,) = cluster.pods(SERVERS)
        assert (cluster.pool(server), server.status.phase) == ("tpu-llama", "Running")
        answer = ask(lab, "llama", "Why is the sky blue?")
        assert answer.returncode == 0, answer.stderr
        assert "A rehearsal has no TPU, so no model read this prompt of 5 words" in answer.stdout
        assert_unchanged(lab)

        attendance = Attendance(cluster)
        lab.set("llm:deployments.llama.model", GEMMA)
        switch = lab.up()
        assert not switch.failed, switch.output
        changed = without_components(switch.changed())
        assert {"llama-weights-staged", "llama-deployment"} <= set(changed)
        assert set(changed.values()) == {"update"}
        assert not [step for step in switch.steps if step.type in COSTLY and step.op != "same"]
        assert len(cluster.jobs()) == 2
        assert len(staged(lab)) == 6
        assert [pod.metadata.name for pod in cluster.pods(SERVERS)] != [server.metadata.name]
        assert attendance.fewest() == 1

        assert_destroyed(
            lab,
            ("Deployment server", "NodePool tpu-llama", f"Cluster {STACK}"),
            ("Service server", f"Namespace {LLAMA_NAMESPACE}", "NodePool cpu", f"Cluster {STACK}"),
        )


def test_drift_is_repaired_deployments_come_and_go_and_a_destroy_takes_disks_and_load_balancers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tpu_stack(tmp_path, ON_DISKS, monkeypatch, runner="stub") as (lab, _):
        first = lab.up()
        assert not first.failed, first.output
        cluster = Cluster(lab)
        assert {cluster.pool(pod) for pod in cluster.pods(SERVERS)} == {"tpu-llama"}
        assert_unchanged(lab)
        _drift(lab, cluster)
        _add_and_remove(lab, cluster)
        (disk,) = [name for name in _disks(lab) if not name.endswith("-ml")]
        gone = ("Service server", f"Namespace {LLAMA_NAMESPACE}", "NodePool cpu", f"Cluster {STACK}")
        volumes = [f"PersistentVolumeClaim {disk}", f"PersistentVolumeClaim {disk}-ml"]
        volumes += [f"PersistentVolume {disk}", f"PersistentVolume {disk}-ml"]
        disks = (f"Disk {disk}-ml", f"Snapshot {disk}", f"Disk {disk}")
        of_readers = tuple(each for each in volumes if each.endswith("-ml"))
        assert_destroyed(
            lab,
            gone,
            disks,
            *(("Deployment server", volume, disks[0]) for volume in of_readers),
            *((volume, disks[-1]) for volume in volumes if volume not in of_readers),
        )


def _drift(lab: Lab, cluster: Cluster) -> None:
    """What somebody has done by hand is found, and undone."""

    def enlarge(body: dict[str, Any]) -> dict[str, Any]:
        body["spec"]["autoscaling"]["maxNodeCount"] = 9
        return body

    lab.world().edit(POOL, enlarge)
    cluster.apps.patch_namespaced_deployment("server", LLAMA_NAMESPACE, {"spec": {"replicas": 1}})
    cluster.core.delete_namespaced_service("server", LLAMA_NAMESPACE)
    refreshed = lab.refresh()
    assert not refreshed.failed, refreshed.output
    found = without_components(refreshed.changed())
    assert found == {"llama-pool": "update", "llama-deployment": "update", "llama-service": "delete"}
    repaired = lab.up()
    assert not repaired.failed, repaired.output
    undone = without_components(repaired.changed())
    assert undone == {**found, "llama-service": "create"}
    pool = lab.world().get(POOL)
    assert pool is not None
    assert pool.body["spec"]["autoscaling"]["maxNodeCount"] == 2
    assert len([pod for pod in cluster.pods(SERVERS) if pod.metadata.deletion_timestamp is None]) == 2


def _add_and_remove(lab: Lab, cluster: Cluster) -> None:
    """Another deployment touches neither the first nor the cluster, when it comes and when it goes."""
    before = {pod.metadata.uid for pod in cluster.pods(SERVERS)}
    lab.config(ON_DISKS + AND_GEMMA)
    added = lab.up()
    assert not added.failed, added.output
    changed = without_components(added.changed())
    assert set(changed.values()) == {"create"}
    assert all(name.startswith("gemma") for name in changed), changed
    (server,) = cluster.pods(SERVERS, f"{STACK}-gemma")
    assert cluster.pool(server) == "tpu-gemma"
    lab.config(ON_DISKS)
    taken = lab.up()
    assert not taken.failed, taken.output
    changed = without_components(taken.changed())
    assert set(changed.values()) == {"delete"}
    assert all(name.startswith("gemma") for name in changed), changed
    assert not [name for name in cluster.left() if "gemma" in name and not name.startswith("gke-")]
    assert {pod.metadata.uid for pod in cluster.pods(SERVERS)} == before


def _disks(lab: Lab) -> list[str]:
    return [name.rpartition("/")[2] for name in lab.names("compute.disk")]
