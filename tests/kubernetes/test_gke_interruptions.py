"""An `up` on TPUs that is killed, interrupted, refused or kept waiting: the next one goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rehearsal.world import Fault
from tests.engine import background
from tests.engine.background import BackgroundUp, engine_processes, the_line, until
from tests.engine.convergence import recover
from tests.engine.lab import Lab
from tests.engine.troubled_hub import TroubledHub
from tests.kubernetes.test_gke_lifecycle import POOL, WITH_A_SPARE_SLICE
from tests.kubernetes.tpu_stack import LLAMA_NAMESPACE, SERVERS, Cluster, left_in_the_cloud, tpu_stack

CLUSTER, NODE_POOL = "gcp:container/cluster:Cluster", "gcp:container/nodePool:NodePool"
LONGEST_SECONDS = 400.0


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first objects come only after a cluster."""
    monkeypatch.setattr(background, "DEADLINE_SECONDS", LONGEST_SECONDS)


def killed_when(lab: Lab, condition: Callable[[], object], what: str) -> None:
    """An `up` that is killed with all that it has started, and whose lock is then broken."""
    up = BackgroundUp(lab)
    up.go_on_until(condition, what)
    up.kill_group()
    until(lambda: not engine_processes(lab), "the end of the killed group's plugins")
    lab.pulumi("cancel", "--yes")


_LOOKS_SECONDS = 5.0
"""Several looks of the plugin at an object that it waits for."""


def interrupted_when(lab: Lab, condition: Callable[[], object], what: str) -> str:
    """What an `up` says that is stopped with Ctrl-C."""
    up = BackgroundUp(lab)
    up.go_on_until(condition, what)
    up.press_ctrl_c()
    assert up.wait() != 0
    return up.output()


def test_an_up_goes_on_after_whatever_stopped_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tpu_stack(tmp_path, WITH_A_SPARE_SLICE, monkeypatch) as (lab, hub):
        _while_the_cluster_is_made(lab)
        _while_the_job_runs(lab, hub)
        _without_slices_to_be_had(lab)
        _while_pods_wait(lab)
        converged = lab.up()
        assert not converged.failed, converged.output
        again = lab.up()
        assert not again.failed, again.output
        assert again.changed() == {}
        cluster = Cluster(lab)
        assert [job.status.succeeded for job in cluster.jobs()] == [1]
        destroyed = lab.destroy()
        assert not destroyed.failed, destroyed.output
        until(lambda: not cluster.left(), "the end of the nodes")
        assert left_in_the_cloud(lab) == []


def _while_the_cluster_is_made(lab: Lab) -> None:
    lab.world().faults.add(Fault("late", CLUSTER, "create", seconds=60))
    killed_when(lab, lambda: lab.names("container.cluster"), "a cluster that nobody has heard of")
    lab.world().faults.clear()
    refused = lab.up()
    assert refused.failed
    assert "`llmstack recover test` imports it" in the_line(refused.output, "Error 409")
    recovered = recover(lab)
    assert recovered.returncode == 0, recovered.stdout + recovered.stderr


def _while_the_job_runs(lab: Lab, hub: TroubledHub) -> None:
    hub.hold()
    killed_when(lab, hub.keeps_waiting, "a job that downloads")
    (job,) = Cluster(lab).jobs()
    said = interrupted_when(lab, lambda: _watched(lab) > 0, "an up that waits for the job")
    assert "the next `pulumi up` waits for it" in the_line(said, "goes on")
    (same,) = Cluster(lab).jobs()
    assert same.metadata.uid == job.metadata.uid
    hub.release()


def _watched(lab: Lab) -> int:
    """Whether an `up` has come to the staging; nothing before it is left to do."""
    log = max(lab.root.glob("up-*.log"), key=lambda path: path.stat().st_mtime)
    return log.read_text(encoding="utf-8").count("staging ")


def _without_slices_to_be_had(lab: Lab) -> None:
    slices = "*/nodePools/tpu-llama"
    quota = "Quota 'TPU_LITE_DEVICE_V5' exceeded. Limit: 0 in region us-west4."
    lab.world().faults.add(Fault("quota", NODE_POOL, "create", slices, message=quota))
    refused = lab.up()
    assert refused.failed
    assert "llama-pool" in refused.output
    assert "Error 429" in the_line(refused.output, quota)
    assert not Cluster(lab).pods(SERVERS)
    lab.world().faults.clear()
    lab.world().faults.add(Fault("stockout", NODE_POOL, "create", slices))
    sold_out = lab.up()
    assert sold_out.failed
    assert "nodePools/tpu-llama" in the_line(sold_out.output, "ZONE_RESOURCE_POOL_EXHAUSTED")
    lab.world().faults.clear()


def _while_pods_wait(lab: Lab) -> None:
    """Google has no machines: the pool is there and stays empty."""

    cluster, world = Cluster(lab), lab.world()
    since: list[float] = []

    def without_a_node() -> bool:
        pool = world.get(POOL)
        if pool is not None and pool.body["spec"]["autoscaling"]["maxNodeCount"]:
            world.edit(POOL, _sized(0))
        if any(map(_unschedulable, cluster.pods(SERVERS))):
            since.append(time.monotonic())
        # What is said at the end is what the plugin saw when it last looked.
        return bool(since) and time.monotonic() - since[0] > _LOOKS_SECONDS

    said = interrupted_when(lab, without_a_node, "a pod without a node")
    waiting = the_line(said, f"Deployment {LLAMA_NAMESPACE}/server: no longer waited for")
    assert "Unschedulable: 0/" in waiting
    lab.world().edit(POOL, _sized(2))


def _sized(most: int) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def change(body: dict[str, Any]) -> dict[str, Any]:
        body["spec"]["autoscaling"]["maxNodeCount"] = most
        return body

    return change


def _unschedulable(pod: Any) -> bool:
    found = {each.reason for each in pod.status.conditions or () if each.type == "PodScheduled"}
    return "Unschedulable" in found
