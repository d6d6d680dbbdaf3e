"""The same pools as nodes of kwok's, which shares no code with ours: is what we simulate only our own idea?

https://kwok.sigs.k8s.io: nodes and pods without machines, by rules that its project publishes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from kubernetes.client import AppsV1Api, BatchV1Api, CoreV1Api, V1Node
from kubernetes.utils import create_from_dict

from rehearsal.cluster.api import connect
from rehearsal.cluster.programs import FOLDER, Program
from tests.kubernetes.nodes import Plane, Pool
from tests.kubernetes.stage import LOOPBACK, listening, until
from tests.kubernetes.test_placement_scheduler import CPU, TPU, job, server

STAGES = FOLDER / "kwok-stages"
RULES = ("node/fast/node-initialize", "pod/fast/pod-ready", "pod/fast/pod-complete", "pod/fast/pod-delete")
PLAYED = {"played-by": "kwok"}
SPACE = "kwok"

pytestmark = pytest.mark.skipif(
    not (FOLDER / "kwok").exists() and not os.environ.get("CI"), reason="no kwok: run make kube-tools"
)


@pytest.fixture
def core(plane: Plane, tmp_path: Path) -> Iterator[CoreV1Api]:
    """A control plane with one TPU machine and two others, all of them kwok's."""
    plane.nodes.keep([])
    core = CoreV1Api(connect(plane.admin))
    rules = tmp_path / "rules.yaml"
    rules.write_text("\n---\n".join((STAGES / f"{name}.yaml").read_text() for name in RULES))
    selector = ",".join(f"{key}={value}" for key, value in PLAYED.items())
    flags = [
        f"--kubeconfig={plane.admin}",
        f"--config={rules}",
        f"--manage-nodes-with-label-selector={selector}",
    ]
    kwok = Program("kwok", [*flags, "--node-lease-duration-seconds=40"], tmp_path)
    try:
        names = [name for pool in (TPU, CPU) for name in _register(core, pool)]
        yield core
        kwok.require()
        AppsV1Api(core.api_client).delete_collection_namespaced_deployment(SPACE)
        BatchV1Api(core.api_client).delete_collection_namespaced_job(SPACE, propagation_policy="Background")
        until("the end of the pods", lambda: not core.list_namespaced_pod(SPACE).items)
        for name in names:
            core.delete_node(name)
    finally:
        kwok.stop()


def _register(core: CoreV1Api, pool: Pool) -> list[str]:
    """Nodes that say what they have before kwok finds them: it fills in what is missing."""
    for spec in pool.specs():
        body = {
            "metadata": {"name": spec.name, "labels": {**spec.labels, **PLAYED}},
            "spec": {"taints": [dict(taint) for taint in spec.taints]},
            "status": {"capacity": dict(spec.capacity), "allocatable": dict(spec.allocatable)},
        }
        core.create_node(V1Node.model_validate(body))
    return [spec.name for spec in pool.specs()]


def _in_space(manifest: dict[str, Any]) -> dict[str, Any]:
    return {**manifest, "metadata": {**manifest["metadata"], "namespace": SPACE}}


def test_on_kwok_s_nodes_a_server_serves_a_job_completes_and_a_second_server_waits(
    plane: Plane, core: CoreV1Api
) -> None:
    client = connect(plane.admin)
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}}
    for manifest in (space, _in_space(server(replicas=2)), _in_space(job())):
        create_from_dict(client, manifest)
    batch, apps = BatchV1Api(client), AppsV1Api(client)
    until("the end of the job", lambda: batch.read_namespaced_job("stage", SPACE).status.succeeded == 1)
    until(
        "a server that serves",
        lambda: apps.read_namespaced_deployment("assistant", SPACE).status.available_replicas == 1,
    )
    pods: list[Any] = list(core.list_namespaced_pod(SPACE).items)
    assert listening([each for each in psutil.Process().children(True) if "kwok" in each.name()]) <= LOOPBACK
    nodes = {
        name: sorted(str(pod.spec.node_name).removeprefix("gke-llm-") for pod in pods if _is_of(pod, name))
        for name in ("assistant", "stage")
    }
    waiting, placed = nodes["assistant"]
    assert (waiting, placed.startswith(TPU.name)) == ("None", True)
    assert nodes["stage"][0].startswith(CPU.name)


def _is_of(pod: Any, name: str) -> bool:
    return bool(pod.metadata.name.startswith(name))
