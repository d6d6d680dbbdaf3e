"""What the plugin waits for before it says that an object is there.

https://www.pulumi.com/registry/packages/kubernetes/how-to-guides/ and the SDK's own description of each
resource: Deployments, StatefulSets, Jobs, Pods, claims and Services are waited for, other kinds are not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from providers.base.values import Properties, strip_secrets
from rehearsal.standins.kubernetes.kinds import Kind, annotation, metadata_of
from rehearsal.standins.kubernetes.objects import Body, Name, Objects, WorldObjects

AWAIT_SECONDS = 600.0
"""How long the real plugin waits unless the program says otherwise."""
Verdict = str | None
"""None: it is ready. A text says what is missing still."""


class Failed(Exception):  # noqa: N818 - what became of it
    """It will never be ready; one line says why."""


@dataclass(frozen=True, slots=True)
class Wait:
    """How one object is waited for.

    Attributes:
        name: which.
        inputs: what the program gives, with its annotations `pulumi.com/skipAwait` and `pulumi.com/waitFor`.
        seconds: for how long.
    """

    name: Name
    inputs: Properties
    seconds: float = AWAIT_SECONDS

    @classmethod
    def of(cls, kind: Kind, inputs: Properties, timeout: float | None) -> Wait:
        """That of an object with a name.

        Args:
            kind: the object's.
            inputs: what the program gives.
            timeout: seconds that the engine leaves; the annotation `pulumi.com/timeoutSeconds` goes first.
        """
        meta = metadata_of(strip_secrets(inputs))
        namespace = str(meta.get("namespace") or "default") if kind.namespaced else ""
        asked = annotation(inputs, "timeoutSeconds")
        given = float(asked) if asked.isdecimal() else None
        return cls(Name(kind, namespace, str(meta["name"])), inputs, given or timeout or AWAIT_SECONDS)

    def needed(self, objects: Objects, live: Body) -> bool:
        """Whether it is waited for at all: nobody acts on objects that are in the world alone."""
        if annotation(self.inputs, "skipAwait") == "true" or isinstance(objects, WorldObjects):
            return False
        kind = self.name.kind.key
        known = kind in _CHECKS and not (kind == "Service" and _is_passive(live))
        return known or self._condition.startswith("condition=")

    def look(self, objects: Objects, live: Body) -> Verdict:
        """Whether the object is ready now.

        Raises:
            Failed: it never will be.
        """
        if self._condition:
            wanted = self._condition.removeprefix("condition=").partition("=")
            return _has_condition(live, wanted[0], wanted[2] or "True")
        return _CHECKS[self.name.kind.key](objects, self.name, live)

    def verdict(self, objects: Objects, live: Body) -> Verdict:
        """What a refresh finds missing of it."""
        if not self.needed(objects, live):
            return None
        try:
            return self.look(objects, live)
        except Failed as failed:
            return str(failed)

    @property
    def _condition(self) -> str:
        return annotation(self.inputs, "waitFor")


def _deployment(objects: Objects, name: Name, live: Body) -> Verdict:
    """Every replica is a new one and available: a Deployment calls itself available with fewer.

    https://github.com/pulumi/pulumi-kubernetes, provider/pkg/await/deployment.go
    """
    status, wanted = live.get("status", {}), live["spec"].get("replicas", 1)
    missing = _has_condition(live, "Available", "True")
    seen = status.get("observedGeneration", 0) >= live["metadata"]["generation"]
    rolled = status.get("updatedReplicas", 0) >= wanted >= status.get("replicas", 0)
    if seen and missing is None and rolled and not status.get("unavailableReplicas"):
        return None
    told = _pods(objects, name.namespace, live["spec"].get("selector", {}).get("matchLabels", {}))
    return told or f"{status.get('availableReplicas', 0)} of {wanted} replicas are available"


def _stateful_set(objects: Objects, name: Name, live: Body) -> Verdict:
    ready, wanted = live.get("status", {}).get("readyReplicas", 0), live["spec"].get("replicas", 1)
    if ready >= wanted:
        return None
    told = _pods(objects, name.namespace, live["spec"].get("selector", {}).get("matchLabels", {}))
    return told or f"{ready} of {wanted} replicas are ready"


def _job(objects: Objects, name: Name, live: Body) -> Verdict:
    for each in live.get("status", {}).get("conditions", ()):
        if each["status"] == "True" and each["type"] == "Complete":
            return None
        if each["status"] == "True" and each["type"] == "Failed":
            raise Failed(f"{each.get('reason', 'Failed')}: {each.get('message', '')}".strip())
    return _pods(objects, name.namespace, {"job-name": name.name}) or "it has not completed"


def _pod(objects: Objects, name: Name, live: Body) -> Verdict:  # noqa: ARG001
    if live.get("status", {}).get("phase") == "Succeeded":
        return None
    if _has_condition(live, "Ready", "True") is None:
        return None
    return _waits_for(live) or "it is not ready"


def _claim(objects: Objects, name: Name, live: Body) -> Verdict:
    if live.get("status", {}).get("phase") == "Bound":
        return None
    storage = live["spec"].get("storageClassName")
    classes = objects.listed("/apis/storage.k8s.io/v1/storageclasses") if storage else []
    for each in classes:
        if each["metadata"]["name"] == storage and each.get("volumeBindingMode") == "WaitForFirstConsumer":
            return None  # it is bound when a Pod wants it
    return f"{name.id} is not bound to a volume"


def _service(objects: Objects, name: Name, live: Body) -> Verdict:
    balancer = live.get("status", {}).get("loadBalancer") or {}
    if live["spec"].get("type") == "LoadBalancer" and not balancer.get("ingress"):
        return "its load balancer has no address"
    path = f"/apis/discovery.k8s.io/v1/namespaces/{name.namespace}/endpointslices"
    for each in objects.listed(path, labelSelector=f"kubernetes.io/service-name={name.name}"):
        for endpoint in each.get("endpoints") or ():
            if endpoint.get("conditions", {}).get("ready", True):
                return None
    return "it selects no Pod that is ready"


def _is_passive(live: Body) -> bool:
    """A Service that selects nothing, or that has no address of its own."""
    spec = live.get("spec", {})
    return not spec.get("selector") or spec.get("clusterIP") == "None" or spec.get("type") == "ExternalName"


def _has_condition(live: Body, name: str, wanted: str) -> Verdict:
    for each in live.get("status", {}).get("conditions", ()):
        if each["type"] == name:
            return None if each["status"] == wanted else f"{name}: {each.get('message') or each['status']}"
    return f"it has no condition {name}"


def _pods(objects: Objects, namespace: str, labels: dict[str, str]) -> str:
    """Why Pods do not run, in the words of the scheduler and the kubelet."""
    if not labels:
        return ""
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    pods = objects.listed(f"/api/v1/namespaces/{namespace}/pods", labelSelector=selector)
    told = {f"{pod['metadata']['name']}: {reason}" for pod in pods if (reason := _waits_for(pod))}
    return "; ".join(sorted(told))


def _waits_for(pod: Body) -> str:
    status = pod.get("status", {})
    for each in status.get("conditions", ()):
        if each["type"] == "PodScheduled" and each["status"] == "False":
            return f"{each.get('reason', '')}: {each.get('message', '')}"
    for container in status.get("containerStatuses", ()):
        waiting: dict[str, Any] = container.get("state", {}).get("waiting") or {}
        if waiting:
            last = container.get("lastState", {}).get("terminated") or {}
            words = " ".join(str(last.get("message") or "").split())
            said = f"; it said: {words}" if words else ""
            return f"{waiting.get('reason', '')}: {waiting.get('message', '')}{said}"
    return ""


_CHECKS: dict[str, Callable[[Objects, Name, Body], Verdict]] = {
    "Deployment.apps": _deployment,
    "StatefulSet.apps": _stateful_set,
    "Job.batch": _job,
    "Pod": _pod,
    "PersistentVolumeClaim": _claim,
    "Service": _service,
}
