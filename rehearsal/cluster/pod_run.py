"""One pod on the rehearsed node, from its binding to its end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import urllib3
from kubernetes.client import ApiException

from rehearsal.cloud.workloads import Facts, Workload, Workloads, new_id
from rehearsal.cluster import pod_status
from rehearsal.cluster.api import Body
from rehearsal.cluster.pod import Objects, Waiting, not_rehearsed, template_of
from rehearsal.runner import StartError
from rehearsal.world import World

KIND = "pod"
RECORD = "kubernetes.pod"
"""Kind of the world's record that a pod has while it is in its cluster; without one its log is swept away."""
RETRY_SECONDS = 5.0
"""How often a container is tried again that could not be made; a kubelet waits longer each time."""
GRACE_SECONDS = 30.0
_POLL_SECONDS = 0.1
_REPORT_ATTEMPTS = 20
_START_ERROR = 128
"""Exit code of a container that could not be started, as containerd has it."""
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Site:
    """Where the pods of a cluster run."""

    world: World
    workloads: Workloads
    project: str
    cluster: str
    """`projects/P/locations/L/clusters/C`."""


def end_strays(site: Site) -> None:
    """End the pods of a cluster whose process was killed, and forget them: their objects are gone."""
    pods = f"container.googleapis.com/{site.cluster}/k8s/"
    for facts in site.workloads.all():
        if facts.kind == KIND and facts.owner.startswith(pods):
            if (workload := site.workloads.adopt(facts)) is not None:
                workload.terminate(0.0)
            site.workloads.forget(facts.owner)
    for record in site.world.list(RECORD, pods):
        site.world.delete(record.name)


class Reports(Objects, Protocol):
    """The cluster as who runs a pod sees it."""

    def report(self, pod: Body, status: Body) -> None: ...

    def remove(self, pod: Body) -> None: ...


class PodRun:
    """Runs a pod's container in a thread of its own.

    Args:
        api: reports to the cluster.
        site: where it runs.
        pod: the pod as it was bound.
    """

    def __init__(self, api: Reports, site: Site, pod: Body) -> None:
        self._api = api
        self._site = site
        self._pod = pod
        meta = pod["metadata"]
        self._owner = (
            f"container.googleapis.com/{site.cluster}/k8s/namespaces/{meta['namespace']}/pods/{meta['name']}"
        )
        self._deleted = threading.Event()
        self._killed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def update(self, pod: Body) -> None:
        """Take note of a newer state of the pod: a deletion ends its container with its grace period."""
        if "deletionTimestamp" in pod["metadata"]:
            self._pod = pod
            self._deleted.set()

    def kill(self) -> None:
        """End the container without a report, wait for that, and forget the pod with its log."""
        self._killed.set()
        self._deleted.set()
        self._thread.join()
        self._site.world.delete(self._owner)

    def _run(self) -> None:
        if (reason := not_rehearsed(self._pod)) is not None:
            self._pretend(reason)
        elif (workload := self._made()) is not None:
            self._live(workload)
        if self._deleted.is_set() and not self._killed.is_set():
            self._told(lambda: self._api.remove(self._pod))

    def _pretend(self, reason: str) -> None:
        """Say that a pod has done its work, and why it was not done here."""
        _LOG.warning("%s: %s", self._pod["metadata"]["name"], reason)
        begun = pod_status.now()
        self._report(pod_status.running(self._pod, begun))
        self._report(pod_status.ended(self._pod, 0, begun, reason))

    def _made(self) -> Workload | None:
        """The running container; None when the pod was deleted before, or it cannot be started at all."""
        said = None
        while not self._deleted.is_set():
            try:
                return self._start()
            except Waiting as waiting:
                if said != waiting.message:
                    said = waiting.message
                    self._report(pod_status.waiting(self._pod, waiting.reason, waiting.message))
                self._deleted.wait(RETRY_SECONDS)
            except StartError as error:
                begun = pod_status.now()
                self._report(pod_status.ended(self._pod, _START_ERROR, begun, str(error), "StartError"))
                return None
        return None

    def _start(self) -> Workload:
        site, meta = self._site, self._pod["metadata"]
        if site.world.get(self._owner) is None:
            site.world.insert(RECORD, self._owner, {})
        template = template_of(self._pod, site.world, site.project, self._api)
        facts = Facts(
            id=new_id(meta["name"][:40]),
            owner=self._owner,
            kind=KIND,
            revision=meta["name"],
            template=template,
        )
        return site.workloads.start(facts, {"HOSTNAME": meta["name"]})

    def _live(self, workload: Workload) -> None:
        begun = pod_status.now()
        self._report(pod_status.running(self._pod, begun))
        while (code := workload.poll()) is None and not self._deleted.is_set():
            self._deleted.wait(_POLL_SECONDS)
        if code is None:
            grace = 0.0 if self._killed.is_set() else self._grace()
            workload.terminate(grace)
            code = workload.poll()
        else:
            # What the container's first process left behind ends with it.
            workload.terminate(0.0)
        policy = self._pod["spec"]["containers"][0].get("terminationMessagePolicy", "File")
        code = 137 if code is None else code
        message = pod_status.termination_message(workload.folder / "log", code, policy)
        self._report(pod_status.ended(self._pod, code, begun, message))

    def _grace(self) -> float:
        seconds = self._pod["metadata"].get("deletionGracePeriodSeconds")
        return GRACE_SECONDS if seconds is None else float(seconds)

    def _report(self, status: Body) -> None:
        if not self._killed.is_set():
            self._told(lambda: self._api.report(self._pod, status))

    def _told(self, call: Callable[[], None]) -> None:
        """Tell the cluster something, which may be busy: a job whose end is lost would never end."""
        for _ in range(_REPORT_ATTEMPTS):
            try:
                call()
                return
            except (ApiException, urllib3.exceptions.HTTPError) as error:
                _LOG.warning("%s: %s", self._pod["metadata"]["name"], error)
            if self._killed.wait(1.0):
                return
