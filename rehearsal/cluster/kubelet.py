"""The node of a rehearsed cluster: takes the pods that the scheduler binds to it, runs and reports them."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime
from typing import Any

import urllib3
from kubernetes.client import ApiException

from rehearsal.cluster.api import LEASES, Body, NodeApi
from rehearsal.cluster.node_pools import NodeSpec
from rehearsal.cluster.pod_run import PodRun, Site
from rehearsal.cluster.pod_status import ended, now

LEASE_SECONDS = 40
RENEW_SECONDS = 10.0
_PAUSE_SECONDS = 1.0
_CAPACITY = {"cpu": "8", "memory": "8Gi", "ephemeral-storage": "100Gi", "pods": "110"}
_LOG = logging.getLogger(__name__)


class Kubelet:
    """Runs the pods of one node.

    Args:
        api: the cluster as this node sees it.
        site: where its pods run.
        node: the node's name.
        spec: what a node pool makes of it; None for one of 8 CPUs and 8 GiB.
    """

    def __init__(self, api: NodeApi, site: Site, node: str, spec: NodeSpec | None = None) -> None:
        self._api = api
        self._site = site
        self._node = node
        self._capacity = dict(spec.capacity if spec else _CAPACITY)
        self._allocatable = dict(spec.allocatable if spec else _CAPACITY)
        self._runs: dict[str, PodRun] = {}
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._watch, self._beat)]

    def start(self) -> None:
        """Register the node; it takes pods from here on."""
        self._api.register(_node(self._node), self._status())
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End every pod's container; the cluster is told nothing, as when a machine is switched off."""
        self._stopped.set()
        for run in list(self._runs.values()):
            run.kill()

    def _watch(self) -> None:
        while not self._stopped.is_set():
            try:
                for kind, pod in self._api.pods():
                    if self._stopped.is_set():
                        return
                    self._sync(kind, pod)
            except (ApiException, urllib3.exceptions.HTTPError) as error:
                _LOG.warning("watching pods: %s", error)
                self._stopped.wait(_PAUSE_SECONDS)

    def _sync(self, kind: str, pod: Body) -> None:
        uid, phase = pod["metadata"]["uid"], pod.get("status", {}).get("phase")
        run = self._runs.get(uid)
        if kind == "DELETED":
            if run is not None:
                run.kill()
            self._runs.pop(uid, None)
        elif run is not None:
            run.update(pod)
        elif phase in ("Succeeded", "Failed"):
            if "deletionTimestamp" in pod["metadata"]:
                self._api.remove(pod)
        elif phase == "Running":
            # An earlier kubelet started it and is gone, with all that it ran.
            lost = "The container could not be located"
            self._api.report(pod, ended(pod, 137, now(), lost, "ContainerStatusUnknown"))
        else:
            self._runs[uid] = PodRun(self._api, self._site, pod)
            self._runs[uid].start()

    def _beat(self) -> None:
        """The control plane takes a node for lost that renews its lease no more."""
        while not self._stopped.is_set():
            spec = {
                "holderIdentity": self._node,
                "leaseDurationSeconds": LEASE_SECONDS,
                "renewTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            }
            try:
                self._api.renew({"metadata": {"name": self._node, "namespace": LEASES}, "spec": spec})
            except (ApiException, urllib3.exceptions.HTTPError) as error:
                _LOG.warning("renewing the lease: %s", error)
            self._stopped.wait(RENEW_SECONDS)

    def _status(self) -> dict[str, Any]:
        moment = now()
        ready = {
            "type": "Ready",
            "status": "True",
            "reason": "KubeletReady",
            "message": "the rehearsed node takes pods",
            "lastHeartbeatTime": moment,
            "lastTransitionTime": moment,
        }
        return {
            "capacity": self._capacity,
            "allocatable": self._allocatable,
            "conditions": [ready],
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        }


def _node(name: str) -> dict[str, Any]:
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
