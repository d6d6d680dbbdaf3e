"""Where the real scheduler puts pods that serve and stage, and why it leaves those of mistakes."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from rehearsal.standins.kubernetes.objects import Refusal
from tests.kubernetes.nodes import ZONE, Placement, Pool, Scheduler, pools_of

TPU = Pool("assistant-tpu", "ct5lp-hightpu-8t")
CPU = Pool("cpu", "e2-standard-4", nodes=2)
NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "llm"}}
ACCELERATOR, TOPOLOGY = "cloud.google.com/gke-tpu-accelerator", "cloud.google.com/gke-tpu-topology"
TOLERATION = {"key": "google.com/tpu", "operator": "Exists", "effect": "NoSchedule"}
SERVER, STAGE = "Deployment/assistant", "Job/stage"


def server(chips: int = 8, topology: str = "2x4", replicas: int = 1, **pod: Any) -> dict[str, Any]:
    """A server that asks for whole TPU machines."""
    labels = {"app": "assistant"}
    amount = {"google.com/tpu": str(chips)}
    spec = {
        "nodeSelector": {ACCELERATOR: "tpu-v5-lite-podslice", TOPOLOGY: topology},
        "tolerations": [TOLERATION],
        "containers": [
            {"name": "server", "image": "server:v1", "resources": {"limits": amount, "requests": amount}}
        ],
        **pod,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "assistant", "namespace": "llm"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def job(chips: int = 0, **pod: Any) -> dict[str, Any]:
    """A job that stages weights."""
    resources: dict[str, Any] = {"requests": {"cpu": "500m", "memory": "512Mi"}}
    if chips:
        resources = {"limits": {"google.com/tpu": str(chips)}}
    spec = {
        "restartPolicy": "Never",
        "nodeSelector": {"cloud.google.com/gke-nodepool": "cpu"},
        "containers": [{"name": "stage", "image": "weights:v1", "resources": resources}],
        **pod,
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "stage", "namespace": "llm"},
        "spec": {"template": {"spec": spec}},
    }


def only(placements: dict[str, Placement]) -> Placement:
    (placement,) = placements.values()
    return placement


def test_a_server_goes_to_the_tpu_machine_and_a_job_to_a_cpu_machine(scheduler: Scheduler) -> None:
    placements = scheduler.place([NAMESPACE, server(), job()], [TPU, CPU])
    assert pools_of(placements, SERVER) == [TPU.name]
    assert pools_of(placements, STAGE) == [CPU.name]


def test_a_job_without_a_selector_stays_off_the_tpu_machine_too(scheduler: Scheduler) -> None:
    assert only(scheduler.place([NAMESPACE, job(nodeSelector={})], [TPU, CPU])).pool == CPU.name
    lonely = only(scheduler.place([NAMESPACE, job(nodeSelector={})], [TPU]))
    assert (lonely.node, "untolerated taint(s)" in lonely.reason) == (None, True)


def test_replicas_beyond_the_slices_that_there_are_stay_pending(scheduler: Scheduler) -> None:
    two = Pool(TPU.name, TPU.machine, nodes=2)
    placements = scheduler.place([NAMESPACE, server(replicas=3)], [two, CPU])
    assert pools_of(placements, SERVER) == ["", TPU.name, TPU.name]
    (waiting,) = [each for each in placements.values() if each.node is None]
    assert "2 Insufficient google.com/tpu" in waiting.reason


FOUR = Pool("assistant-tpu", "ct5lp-hightpu-4t", nodes=2, topology="2x4")


@pytest.mark.parametrize(
    ("mistake", "pools", "says"),
    [
        (server(chips=8), [FOUR, CPU], "2 Insufficient google.com/tpu"),
        (server(tolerations=[]), [TPU, CPU], "1 node(s) had untolerated taint(s)"),
        (server(topology="2x2"), [TPU, CPU], "didn't match Pod's node affinity/selector"),
        (
            server(nodeSelector={ACCELERATOR: "tpu-v5e-slice", TOPOLOGY: "2x4"}),
            [TPU, CPU],
            "didn't match Pod's node affinity/selector",
        ),
        (job(chips=8), [TPU, CPU], "2 Insufficient google.com/tpu"),
        (job(nodeSelector={"cloud.google.com/gke-nodepool": "other"}), [TPU, CPU], "didn't match Pod's node"),
    ],
    ids=[
        "eight chips on machines of four",
        "no toleration",
        "another topology",
        "a label that GKE does not have",
        "a job that asks for chips",
        "a pool that is not there",
    ],
)
def test_a_mistake_is_not_scheduled(
    scheduler: Scheduler, mistake: dict[str, Any], pools: list[Pool], says: str
) -> None:
    placement = only(scheduler.place([NAMESPACE, mistake], pools))
    assert placement.node is None
    assert says in placement.reason


def test_a_job_that_asks_for_chips_takes_them_from_the_server(scheduler: Scheduler) -> None:
    greedy = job(
        chips=8,
        nodeSelector={ACCELERATOR: "tpu-v5-lite-podslice"},
        tolerations=[TOLERATION],
    )
    placements = scheduler.place([NAMESPACE, greedy, server()], [TPU, CPU])
    assert sorted(each.pool for each in placements.values()) == ["", TPU.name]


@pytest.mark.parametrize(
    ("machine", "chips", "topology"),
    [
        ("ct5lp-hightpu-1t", 1, "1x1"),
        ("ct5lp-hightpu-4t", 4, "2x2"),
        ("ct6e-standard-1t", 1, "1x1"),
        ("ct6e-standard-4t", 4, "2x2"),
        ("ct6e-standard-8t", 8, "2x4"),
    ],
)
def test_every_machine_takes_a_server_for_all_its_chips(
    scheduler: Scheduler, machine: str, chips: int, topology: str
) -> None:
    label = "tpu-v6e-slice" if machine.startswith("ct6e") else "tpu-v5-lite-podslice"
    wanted = server(chips, nodeSelector={ACCELERATOR: label, TOPOLOGY: topology})
    assert only(scheduler.place([NAMESPACE, wanted], [Pool("p", machine)])).pool == "p"


def test_a_volume_in_another_zone_keeps_the_server_pending(scheduler: Scheduler) -> None:
    placements = [
        only(scheduler.place([NAMESPACE, *_disk(zone), server(volumes=_VOLUMES)], [TPU, CPU]))
        for zone in (ZONE, "us-central1-b")
    ]
    assert [each.pool for each in placements] == [TPU.name, ""]
    assert "volume node affinity conflict" in placements[1].reason or "affinity" in placements[1].reason


_VOLUMES = [{"name": "weights", "persistentVolumeClaim": {"claimName": "weights", "readOnly": True}}]


def _disk(zone: str) -> list[dict[str, Any]]:
    """A disk in a zone, as a volume that the server claims."""
    term = {"matchExpressions": [{"key": "topology.kubernetes.io/zone", "operator": "In", "values": [zone]}]}
    shared: dict[str, Any] = {"storageClassName": "", "accessModes": ["ReadOnlyMany"]}
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": "assistant-weights"},
        "spec": {
            **shared,
            "capacity": {"storage": "100Gi"},
            "persistentVolumeReclaimPolicy": "Retain",
            "csi": {"driver": "pd.csi.storage.gke.io", "volumeHandle": f"projects/p/zones/{zone}/disks/d"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}},
            "claimRef": {"name": "weights", "namespace": "llm"},
        },
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "weights", "namespace": "llm"},
        "spec": {
            **shared,
            "volumeName": "assistant-weights",
            "resources": {"requests": {"storage": "100Gi"}},
        },
    }
    return [volume, claim]


def test_a_field_that_kubernetes_does_not_know_is_refused(scheduler: Scheduler) -> None:
    wrong = copy.deepcopy(server())
    wrong["spec"]["template"]["spec"]["containers"][0]["livenessProb"] = {"periodSeconds": 1}
    with pytest.raises(Refusal, match="livenessProb: field not declared in schema"):
        scheduler.place([NAMESPACE, wrong], [])
    with pytest.raises(Refusal, match="livenessProb: field not declared in schema"):
        scheduler.accepts([wrong])
    scheduler.accepts([server(), job()])
