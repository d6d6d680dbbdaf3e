"""A stack on TPUs with all its parts: engine, rehearsed cloud, control plane, a Hub that can be troubled."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kubernetes import watch
from kubernetes.client import AppsV1Api, BatchV1Api, CoreV1Api

from rehearsal.cluster.api import connect
from rehearsal.cluster.state import running
from rehearsal.given import put_given
from stacks.config import from_stack_file
from stacks.plan import build_plan
from tests.engine.background import end_engines
from tests.engine.lab import CHECKOUT, STACK, Lab, make_project
from tests.engine.troubled_hub import TroubledHub
from tests.kubernetes.jetstream_models import write_models

BUCKET = f"llm-test-{STACK}-models"
POOL_LABEL = "cloud.google.com/gke-nodepool"
LLAMA_NAMESPACE = f"{STACK}-llama"
SERVERS = "app.kubernetes.io/name=server"
_REPLAY_SECONDS = 2


class Cluster:
    """What is in a lab's cluster, as an administrator sees it.

    Args:
        lab: whose control plane runs.
    """

    def __init__(self, lab: Lab) -> None:
        state = running(lab.rehearsal.folder)
        assert state is not None
        client = connect(Path(state.kubeconfig))
        self.core, self.batch, self.apps = CoreV1Api(client), BatchV1Api(client), AppsV1Api(client)

    def pods(self, selector: str, namespace: str = LLAMA_NAMESPACE) -> list[Any]:
        """The pods that a selector of labels means."""
        return list(self.core.list_namespaced_pod(namespace, label_selector=selector).items)

    def pool(self, pod: Any) -> str:
        """The pool of the node that a pod is on."""
        node: Any = self.core.read_node(pod.spec.node_name)
        return str(node.metadata.labels[POOL_LABEL])

    def jobs(self) -> list[Any]:
        """The jobs of the deployment llama."""
        return list(self.batch.list_namespaced_job(LLAMA_NAMESPACE).items)

    def left(self) -> list[str]:
        """What a destroy must not leave."""
        core = self.core
        lists: tuple[Any, ...] = (core.list_namespace(), core.list_persistent_volume(), core.list_node())
        names = [each.metadata.name for listed in lists for each in listed.items]
        return [name for name in names if name != "default" and not name.startswith("kube-")]


class Attendance:
    """The servers of the deployment llama from now on.

    Args:
        cluster: where they run.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._core = cluster.core
        listed: Any = self._core.list_namespaced_pod(LLAMA_NAMESPACE, label_selector=SERVERS)
        self._version = listed.metadata.resource_version
        self._begun = {pod.metadata.name: _serves(pod) for pod in listed.items}

    def fewest(self) -> int:
        """How many were ready, and not on their way out, at the worst moment since the beginning."""
        serving = dict(self._begun)
        least = sum(serving.values())
        events = watch.Watch().stream(  # type: ignore[no-untyped-call]
            self._core.list_namespaced_pod,
            LLAMA_NAMESPACE,
            label_selector=SERVERS,
            resource_version=self._version,
            timeout_seconds=_REPLAY_SECONDS,
        )
        for event in events:
            pod = event["object"]
            serving[pod.metadata.name] = event["type"] != "DELETED" and _serves(pod)
            least = min(least, sum(serving.values()))
        return least


def _serves(pod: Any) -> bool:
    ready = any(each.type == "Ready" and each.status == "True" for each in pod.status.conditions or ())
    return ready and pod.metadata.deletion_timestamp is None


@contextmanager
def tpu_stack(
    folder: Path, config: str, patch: pytest.MonkeyPatch, runner: str = "process"
) -> Iterator[tuple[Lab, TroubledHub]]:
    """A stack with the secret that it takes for granted; nothing of it may be left running afterwards.

    Args:
        folder: an empty one.
        config: the stack file's `config:` block.
        patch: sets what the rehearsal reads of the environment.
        runner: how the weights job runs: `process`, or `stub` for one that only pretends.
    """
    hub = TroubledHub(folder / "hub")
    write_models(folder / "hub")
    patch.setenv("HF_ENDPOINT", hub.address)
    patch.setenv("LLMSTACK_RUNNER", runner)
    lab = Lab(make_project(folder / "project", config))
    world = lab.world()
    put_given(world, build_plan(from_stack_file(lab.root / f"Pulumi.{STACK}.yaml")))
    world.close()
    try:
        yield lab, hub
    finally:
        hub.release()
        end_engines(lab)
        lab.rehearsal.down()
        hub.close()
    assert [left for left in lab.rehearsal.leftovers() if left.startswith("process")] == []


def staged(lab: Lab) -> set[str]:
    """Folder and name of every object of the bucket."""
    return {"/".join(each.name.split("/")[-4:]) for each in lab.world().objects.list(BUCKET, "")}


def left_in_the_cloud(lab: Lab) -> list[str]:
    """What there still is of the stack; the Hub token's secret was there before it."""
    left = [each for each in lab.rehearsal.leftovers() if not each.startswith("process")]
    return [each for each in left if "/secrets/hub-token" not in each]


def removed(lab: Lab) -> list[str]:
    """Kind and short name of everything that plugins were asked to remove, in that order."""
    calls = [call for call in lab.world().calls() if call.operation == "delete"]
    return [f"{call.provider.rpartition(':')[2]} {call.target.rpartition('/')[2]}" for call in calls]


def ask(lab: Lab, deployment: str, prompt: str) -> subprocess.CompletedProcess[str]:
    """`llmstack ask`, as a person calls it."""
    return subprocess.run(
        [sys.executable, "-c", "from llmstack.main import main; main()", "ask", STACK, deployment, prompt],
        cwd=lab.root,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
