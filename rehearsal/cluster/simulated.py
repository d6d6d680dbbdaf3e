"""Nodes that are objects only: they are ready and take pods, and what they take is said to run.

A TPU machine cannot be had here. What can be shown without it is where the scheduler puts pods, and what
waits for them to be ready.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import urllib3
from kubernetes.client import (
    ApiClient,
    ApiException,
    CoordinationV1Api,
    CoreV1Api,
    V1DeleteOptions,
    V1Lease,
    V1Node,
)

from rehearsal.cluster.api import LEASES, connect, ignoring
from rehearsal.cluster.node_pools import NodeSpec
from rehearsal.cluster.pod_status import now

LEASE_SECONDS = 40
RENEW_SECONDS = 10.0
_LOOK_SECONDS = 0.5
_TIMEOUT_SECONDS = 30
_FAILURES = (ApiException, urllib3.exceptions.HTTPError)
_LOG = logging.getLogger(__name__)


class SimulatedNodes:
    """Keeps a set of nodes in a cluster.

    Args:
        kubeconfig: of an administrator.
        port: where port-forwards to those pods are taken, on loopback; None where they are not.
    """

    def __init__(self, kubeconfig: Path, *, port: int | None = None) -> None:
        client: ApiClient = connect(kubeconfig)
        self._core, self._leases = CoreV1Api(client), CoordinationV1Api(client)
        self._nodes: dict[str, NodeSpec] = {}
        self._port = port
        self._stopped = threading.Event()
        loops = ((self._renew_all, RENEW_SECONDS), (self._report_pods, _LOOK_SECONDS))
        self._threads = [threading.Thread(target=self._loop, args=loop, daemon=True) for loop in loops]

    def start(self) -> None:
        """Keep the nodes alive from here on."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Leave the nodes alone."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def keep(self, wanted: Sequence[NodeSpec]) -> None:
        """Have exactly these nodes: make those that are missing or other than they were, remove the rest."""
        for name in [name for name, spec in self._nodes.items() if spec not in wanted]:
            del self._nodes[name]
            self._remove(name)
        for spec in wanted:
            if spec.name not in self._nodes:
                register(self._core, spec)
                self._renew(spec.name)
                self._report_ready(spec)
                self._nodes[spec.name] = spec

    def _loop(self, work: Any, seconds: float) -> None:
        while not self._stopped.wait(seconds):
            try:
                work()
            except _FAILURES as error:
                _LOG.warning("simulated nodes: %s", error)

    def _renew_all(self) -> None:
        for name in list(self._nodes):
            self._renew(name)

    def _renew(self, name: str) -> None:
        """The control plane takes a node for lost that renews its lease no more."""
        spec = {
            "holderIdentity": name,
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }
        lease = V1Lease.model_validate({"metadata": {"name": name, "namespace": LEASES}, "spec": spec})
        with ignoring(409):
            self._leases.create_namespaced_lease(LEASES, lease, _request_timeout=_TIMEOUT_SECONDS)
            return
        self._leases.patch_namespaced_lease(name, LEASES, {"spec": spec}, _request_timeout=_TIMEOUT_SECONDS)

    def _report_ready(self, spec: NodeSpec) -> None:
        moment = now()
        ready = {
            "type": "Ready",
            "status": "True",
            "reason": "KubeletReady",
            "message": "a simulated node takes pods",
            "lastHeartbeatTime": moment,
            "lastTransitionTime": moment,
        }
        status = {
            "capacity": dict(spec.capacity),
            "allocatable": dict(spec.allocatable),
            "conditions": [ready],
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        }
        if self._port is not None:
            status["daemonEndpoints"] = {"kubeletEndpoint": {"Port": self._port}}
        self._core.patch_node_status(spec.name, {"status": status}, _request_timeout=_TIMEOUT_SECONDS)

    def _remove(self, name: str) -> None:
        with ignoring(404):
            self._core.delete_node(name, _request_timeout=_TIMEOUT_SECONDS)
        with ignoring(404):
            self._leases.delete_namespaced_lease(name, LEASES, _request_timeout=_TIMEOUT_SECONDS)

    def _report_pods(self) -> None:
        if not self._nodes:
            return
        listed: Any = self._core.list_pod_for_all_namespaces(_request_timeout=_TIMEOUT_SECONDS)
        for pod in listed.items:
            if pod.spec.node_name not in self._nodes:
                continue
            if pod.metadata.deletion_timestamp is not None:
                self._end(pod)
            elif pod.status.phase == "Pending":
                self._run(pod)

    def _end(self, pod: Any) -> None:
        """The last step of a deletion, which is a kubelet's."""
        options = V1DeleteOptions.model_validate({"gracePeriodSeconds": 0})
        with ignoring(404):
            self._core.delete_namespaced_pod(
                pod.metadata.name, pod.metadata.namespace, body=options, _request_timeout=_TIMEOUT_SECONDS
            )

    def _run(self, pod: Any) -> None:
        with ignoring(404):
            self._core.patch_namespaced_pod_status(
                pod.metadata.name,
                pod.metadata.namespace,
                {"status": _running(pod)},
                _request_timeout=_TIMEOUT_SECONDS,
            )


def register(core: CoreV1Api, spec: NodeSpec) -> None:
    """Make a node's object, unless there is one."""
    body = {
        "metadata": {"name": spec.name, "labels": dict(spec.labels)},
        "spec": {"taints": [dict(taint) for taint in spec.taints]},
    }
    with ignoring(409):
        core.create_node(V1Node.model_validate(body), _request_timeout=_TIMEOUT_SECONDS)


def _running(pod: Any) -> dict[str, Any]:
    """The status of a pod all of whose containers run and are ready."""
    started, number = now(), int(pod.metadata.uid.replace("-", "")[:6], 16)
    address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
    kinds = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady")
    statuses = [
        {
            "name": container.name,
            "image": container.image,
            "imageID": container.image,
            "ready": True,
            "started": True,
            "restartCount": 0,
            "state": {"running": {"startedAt": started}},
        }
        for container in pod.spec.containers
    ]
    return {
        "phase": "Running",
        "startTime": started,
        "hostIP": "127.0.0.1",
        # Endpoints of a Service are the addresses of its pods; nothing answers at this one.
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": [{"type": kind, "status": "True"} for kind in kinds],
        "containerStatuses": statuses,
    }
