"""The weights image as a Kubernetes Job.

A Job is one execution: it is made when something has to be staged. Its name follows from what it stages, so
two deployments, or one that was interrupted and begun again, meet at the same object.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import ClassVar, Final

from providers.base.errors import ProviderError
from providers.modelops.client import Google, NotFound, TemporaryError
from providers.modelops.kubernetes_access import Cluster, ClusterAccess, Conflict
from providers.modelops.kubernetes_definition import KubernetesDefinition, job_object
from providers.modelops.kubernetes_state import Body, ended, failure, last_end, waits_for
from providers.modelops.runners import DEFINITION_LABEL, Definition, Execution, Job, Runner, Work

_NAMESPACE = r"(?P<cluster>[^/].*)/k8s/namespaces/(?P<namespace>[a-z0-9]([a-z0-9-]*[a-z0-9])?)"
_EXECUTION = re.compile(rf"{_NAMESPACE}/jobs/(?P<name>[^/]+)/executions/(?P<uid>[^/]+)")
_POD_LABEL: Final = "batch.kubernetes.io/controller-uid"
"""Which Job a pod belongs to; set by the job controller."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A Job object: where it is and what it is called."""

    cluster: str
    namespace: str
    name: str

    @property
    def jobs(self) -> str:
        """Path of the namespace's Jobs."""
        return f"/apis/batch/v1/namespaces/{self.namespace}/jobs"

    @property
    def path(self) -> str:
        """Path of the Job."""
        return f"{self.jobs}/{self.name}"

    def said(self, verb: str) -> str:
        """How messages begin."""
        return f"{verb} Job {self.namespace}/{self.name} in {self.cluster}"


class KubernetesJobs(Runner):
    """What a staged model needs of a cluster.

    Args:
        google: gives the credentials for clusters of Google's, and retries for all.
    """

    platform: ClassVar[str] = "Kubernetes"
    pattern: ClassVar[re.Pattern[str]] = re.compile(rf"{_NAMESPACE}/jobs/[^/]+")
    shape: ClassVar[str] = "CLUSTER/k8s/namespaces/NAMESPACE/jobs/JOB"
    definition_type: ClassVar[type[Definition] | None] = KubernetesDefinition

    def __init__(self, google: Google) -> None:
        self._google = google
        self._clusters: dict[ClusterAccess, Cluster] = {}
        self._named: dict[str, Cluster] = {}

    def begin(self, work: Work) -> Execution:
        """See `Runner.begin`. A Job of the same name that has ended is removed first: its model is not there,
        or nobody would begin. So is one by another definition.
        """
        place, definition = self._place(work), _definition(work)
        cluster = self._cluster(work)
        body = job_object(definition, place.name, work.label)

        def attempt() -> Execution:
            found = self._get(cluster, place, repeat=False)
            if found is not None and not (_usable(found) and _is_by(found, definition)):
                self._delete(cluster, place, found["metadata"]["uid"], repeat=False)
                found = None
            return _execution(place, found or self._create(cluster, place, body))

        execution: Execution = self._google.retrying()(attempt)
        return execution

    def running(self, work: Work) -> Execution | None:
        """See `Runner.running`."""
        place = self._place(work)
        found = self._get(self._cluster(work), place)
        return _execution(place, found) if found is not None and _usable(found) else None

    def outdated(self, work: Work) -> Execution | None:
        """See `Runner.outdated`."""
        place = self._place(work)
        found = self._get(self._cluster(work), place)
        if found is None or not _usable(found) or _is_by(found, _definition(work)):
            return None
        return _execution(place, found)

    def execution(self, name: str) -> Execution:
        """See `Runner.execution`. One whose Job was deleted has ended when its last pod has."""
        place, uid = _parsed(name)
        cluster = self._known(place.cluster)
        job = self._get(cluster, place)
        if job is None or job["metadata"]["uid"] != uid:
            live = [pod for pod in self._pods(cluster, place, uid) if not _pod_ended(pod)]
            said = "its Job was deleted, its pod is stopping" if live else "its Job was deleted"
            return Execution(name, not live, succeeded=False, message=said, log_uri="", short=place.name)
        if ended(job):
            return _execution(place, job)
        pods = self._pods(cluster, place, uid)
        events = [] if pods else self._events(cluster, place, uid)
        return _execution(place, job, waits_for(job, pods, events))

    def cancel(self, name: str) -> None:
        """See `Runner.cancel`."""
        place, uid = _parsed(name)
        self._delete(self._known(place.cluster), place, uid)

    def exit_code(self, execution: Execution) -> tuple[int | None, str]:
        """See `Runner.exit_code`."""
        place, uid = _parsed(execution.name)
        cluster = self._known(place.cluster)
        code, said = last_end(self._pods(cluster, place, uid))
        if code is not None:
            return code, said
        job = self._get(cluster, place)
        return None, (ended(job) or {}).get("message", "") if job else ""

    def job(self, name: str) -> Job:
        """See `Runner.job`. A cluster keeps nothing between two executions that an import could read."""
        raise ProviderError(
            f"job {name} cannot be imported: Kubernetes keeps no definition of it; write the deployment into "
            "the stack and run `pulumi up`, which runs nothing where the model is staged"
        )

    def stages_elsewhere(self, work: Work) -> list[str]:  # noqa: ARG002
        """See `Runner.stages_elsewhere`: all that stage a target in a namespace share one Job."""
        return []

    def _get(self, cluster: Cluster, place: _Place, repeat: bool = True) -> Body | None:
        try:
            return cluster.ask(place.said("reading"), "GET", place.path, repeat=repeat)
        except NotFound:
            return None

    def _create(self, cluster: Cluster, place: _Place, body: Body) -> Body:
        try:
            return cluster.ask(
                place.said("creating"),
                "POST",
                place.jobs,
                body=body,
                query=[("fieldValidation", "Strict"), ("fieldManager", "llmstack")],
                repeat=False,
            )
        except Conflict as other:
            # Somebody else made it since it was looked for, or an ended one is still on its way out.
            raise TemporaryError(str(other)) from other

    def _delete(self, cluster: Cluster, place: _Place, uid: str, repeat: bool = True) -> None:
        """Deletes this very Job; one that is gone, or another one in its place, is no error."""
        options = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        try:
            cluster.ask(place.said("deleting"), "DELETE", place.path, body=options, repeat=repeat)
        except (NotFound, Conflict):
            return

    def _pods(self, cluster: Cluster, place: _Place, uid: str) -> list[Body]:
        return self._list(cluster, place, "pods", ("labelSelector", f"{_POD_LABEL}={uid}"))

    def _events(self, cluster: Cluster, place: _Place, uid: str) -> list[Body]:
        return self._list(cluster, place, "events", ("fieldSelector", f"involvedObject.uid={uid}"))

    def _list(self, cluster: Cluster, place: _Place, kind: str, only: tuple[str, str]) -> list[Body]:
        path = f"/api/v1/namespaces/{place.namespace}/{kind}"
        answer = cluster.ask(place.said(f"reading the {kind} of"), "GET", path, query=[only])
        items: list[Body] = answer["items"]
        return items

    def _cluster(self, work: Work) -> Cluster:
        access = _definition(work).cluster
        if access not in self._clusters:
            self._clusters[access] = Cluster(access, self._google)
        cluster = self._named[self._place(work).cluster] = self._clusters[access]
        return cluster

    def _known(self, name: str) -> Cluster:
        if name not in self._named:
            raise ProviderError(f"how to reach cluster {name} is not known; run `pulumi up` again")
        return self._named[name]

    def _place(self, work: Work) -> _Place:
        matched = self.pattern.fullmatch(work.job)
        if matched is None:
            raise ProviderError(f"{work.job!r} is not {self.shape}")
        return _Place(matched["cluster"], matched["namespace"], object_name(work.label))


def object_name(label: str) -> str:
    """The name of the Job that stages a target: the label where that makes a name, else a digest of it."""
    usable = re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", label)
    return f"weights-{label if usable else hashlib.sha256(label.encode()).hexdigest()[:16]}"


def _definition(work: Work) -> KubernetesDefinition:
    if not isinstance(work.definition, KubernetesDefinition):
        raise ProviderError(f"{work.job}: a job in a cluster needs a `definition` that names the cluster")
    return work.definition


def _usable(job: Body) -> bool:
    return ended(job) is None and "deletionTimestamp" not in job["metadata"]


def _is_by(job: Body, definition: KubernetesDefinition) -> bool:
    """Whether a Job was made by a definition."""
    return bool(job["metadata"].get("labels", {}).get(DEFINITION_LABEL) == definition.digest)


def _pod_ended(pod: Body) -> bool:
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def _execution(place: _Place, job: Body, message: str = "") -> Execution:
    condition = ended(job)
    space = f"{place.cluster}/k8s/namespaces/{place.namespace}"
    return Execution(
        name=f"{space}/jobs/{place.name}/executions/{job['metadata']['uid']}",
        done=condition is not None,
        succeeded=condition is not None and condition["type"] == "Complete",
        message=failure(job) or message,
        log_uri=f"kubectl logs --namespace {place.namespace} job/{place.name}",
        short=place.name,
    )


def _parsed(name: str) -> tuple[_Place, str]:
    matched = _EXECUTION.fullmatch(name)
    if matched is None:
        raise ProviderError(f"{name!r} is no execution of a job in a cluster")
    return _Place(matched["cluster"], matched["namespace"], matched["name"]), matched["uid"]
