"""A deployment in a cluster, reached through the Kubernetes API: one ready pod of it answers."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from llmstack.client import AskError, Deployment
from llmstack.client_forward import PortForward
from providers.base.errors import ProviderError
from providers.modelops.client import Google, NotFound
from providers.modelops.kubernetes_access import Cluster, ClusterAccess
from providers.modelops.kubernetes_state import pod_waits_for
from stacks.plan.types_gke import GkeTpuPlan

NEEDS: Final = (
    "you need roles/container.developer on the project, or a Role in namespace {namespace} that allows get "
    "of services, list of pods, and create and get of pods/portforward"
)
"""Who may ask; for the message of a refusal."""
_MOST_PODS: Final = 3
"""Pods whose trouble is told; the others wait for the same."""

Body = Mapping[str, Any]


@dataclass(frozen=True)
class ClusterTarget:
    """A deployment on topology `gke-tpu`.

    Args:
        access: how to reach its cluster.
        plan: what the stack file says of it.
        model: what it serves.
        rehearsed: whether it is in a rehearsed cloud.
    """

    access: ClusterAccess
    plan: GkeTpuPlan
    model: str
    rehearsed: bool

    @contextmanager
    def open(self) -> Iterator[Deployment]:
        """Gives an address on loopback, from which one of its pods is reached.

        Raises:
            AskError: the cluster cannot be reached or refuses, or no pod is ready.
        """
        plan = self.plan
        try:
            cluster = Cluster(self.access, Google(threading.Event()), NEEDS)
            pod = _ready_pod(cluster, plan)
        except ProviderError as error:
            raise AskError(str(error)) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            # Not JSON, or not of the API's form: for instance a proxy's page.
            raise AskError(f"what answers at {self.access.place} is not a Kubernetes API server") from error
        with PortForward(cluster, plan.namespace, pod, plan.server.http_port) as forward:
            yield Deployment(
                forward.url,
                token=None,
                rehearsed=self.rehearsed,
                api=plan.server.api,
                model=self.model,
                place=f"pod {pod} of namespace {plan.namespace}",
                trouble=lambda: forward.trouble,
            )


def _ready_pod(cluster: Cluster, plan: GkeTpuPlan) -> str:
    """Finds a pod that answers for the deployment's Service.

    Raises:
        AskError: none is ready.
        ProviderError: the cluster refused, or cannot be reached.
    """
    space = f"/api/v1/namespaces/{plan.namespace}"
    what = f"looking for the pods of {plan.deployment}"
    try:
        service = cluster.ask(what, "GET", f"{space}/services/{plan.service_name}", repeat=False)
    except NotFound as error:
        where = f"service {plan.service_name} in namespace {plan.namespace}"
        raise AskError(f"{plan.deployment} has no {where}: run pulumi up") from error
    chosen = ",".join(f"{key}={value}" for key, value in sorted(service["spec"]["selector"].items()))
    listed = cluster.ask(what, "GET", f"{space}/pods", query=[("labelSelector", chosen)], repeat=False)
    pods: list[Body] = [pod for pod in listed["items"] if not pod["metadata"].get("deletionTimestamp")]
    ready = sorted(pod["metadata"]["name"] for pod in pods if _is_ready(pod))
    if not ready:
        raise AskError(f"no pod of {plan.deployment} is ready: {_why(pods, plan)}")
    return str(ready[0])


def _is_ready(pod: Body) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _why(pods: Sequence[Body], plan: GkeTpuPlan) -> str:
    if not pods:
        return f"there is none in namespace {plan.namespace}; see kubectl -n {plan.namespace} get events"
    told = "; ".join(_state(pod, plan) for pod in pods[:_MOST_PODS])
    more = len(pods) - _MOST_PODS
    return told + (f"; and {more} more" if more > 0 else "")


def _state(pod: Body, plan: GkeTpuPlan) -> str:
    phase = pod.get("status", {}).get("phase", "Unknown")
    said = pod_waits_for(pod)
    if not said and phase == "Running":
        said = f"it loads the model, which takes about {plan.server.load_seconds} s"
    return f"{pod['metadata']['name']} is {phase}" + (f" ({said})" if said else "")
