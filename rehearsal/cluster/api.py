"""What the rehearsed node reads and writes in its cluster, by the official client."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from kubernetes import config, watch
from kubernetes.client import (
    ApiClient,
    ApiException,
    Configuration,
    CoordinationV1Api,
    CoreV1Api,
    V1DeleteOptions,
    V1Lease,
    V1Node,
)

Body = Mapping[str, Any]

WATCH_SECONDS = 20
"""How long one watch lasts; between two of them the list is read anew."""
LEASES = "kube-node-lease"
_TIMEOUT_SECONDS = 30


def connect(kubeconfig: Path) -> ApiClient:
    """A client of the cluster on loopback that a kubeconfig names."""
    configuration = Configuration()
    config.load_kube_config(str(kubeconfig), None, configuration, persist_config=False)  # type: ignore[no-untyped-call]
    # No proxy of the environment reaches this machine's own loopback.
    configuration.proxy = None
    return ApiClient(configuration)


class NodeApi:
    """The cluster as one node sees it.

    Args:
        kubeconfig: of the node's own identity.
        node: the node's name.
    """

    def __init__(self, kubeconfig: Path, node: str) -> None:
        client = connect(kubeconfig)
        self._core = CoreV1Api(client)
        self._leases = CoordinationV1Api(client)
        self._node = node

    def register(self, node: Body, status: Body) -> None:
        """Make the node's object, or take the one that an earlier kubelet made, and say that it is ready."""
        with ignoring(409):
            self._core.create_node(V1Node.model_validate(node), _request_timeout=_TIMEOUT_SECONDS)
        self._core.patch_node_status(self._node, {"status": status}, _request_timeout=_TIMEOUT_SECONDS)

    def renew(self, lease: Body) -> None:
        """Say that the node is alive."""
        try:
            self._leases.patch_namespaced_lease(
                self._node, LEASES, {"spec": lease["spec"]}, _request_timeout=_TIMEOUT_SECONDS
            )
        except ApiException as error:
            if error.status != 404:
                raise
            self._leases.create_namespaced_lease(
                LEASES, V1Lease.model_validate(lease), _request_timeout=_TIMEOUT_SECONDS
            )

    def pods(self) -> Iterator[tuple[str, Body]]:
        """The node's pods, then what happens to them for a while: kind of event and pod."""
        mine = f"spec.nodeName={self._node}"
        listed = _raw(self._core.list_pod_for_all_namespaces, field_selector=mine)
        for pod in listed["items"]:
            yield "LISTED", pod
        stream = watch.Watch().stream(  # type: ignore[no-untyped-call]
            self._core.list_pod_for_all_namespaces,
            field_selector=mine,
            resource_version=listed["metadata"]["resourceVersion"],
            timeout_seconds=WATCH_SECONDS,
            _request_timeout=WATCH_SECONDS + _TIMEOUT_SECONDS,
        )
        for event in stream:
            yield event["type"], event["raw_object"]

    def report(self, pod: Body, status: Body) -> None:
        """Write a pod's status; one that is gone needs none."""
        meta = pod["metadata"]
        with ignoring(404, 409):
            self._core.patch_namespaced_pod_status(
                meta["name"],
                meta["namespace"],
                # With the uid, so that another pod of the same name is not meant.
                {"metadata": {"uid": meta["uid"]}, "status": status},
                _request_timeout=_TIMEOUT_SECONDS,
            )

    def remove(self, pod: Body) -> None:
        """Take a pod whose container has ended out of the cluster: the last step of a deletion."""
        meta = pod["metadata"]
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": meta["uid"]}}
        with ignoring(404, 409):
            self._core.delete_namespaced_pod(
                meta["name"],
                meta["namespace"],
                body=V1DeleteOptions.model_validate(options),
                _request_timeout=_TIMEOUT_SECONDS,
            )

    def secret(self, namespace: str, name: str) -> Body | None:
        """A Secret; None where there is none."""
        with ignoring(404):
            return _raw(self._core.read_namespaced_secret, name, namespace)
        return None

    def service_account(self, namespace: str, name: str) -> Body | None:
        """A service account; None where there is none."""
        with ignoring(404):
            return _raw(self._core.read_namespaced_service_account, name, namespace)
        return None


def _raw(method: Callable[..., Any], *arguments: str, **more: Any) -> dict[str, Any]:
    """The answer as the cluster gives it, without the client's classes."""
    answer = method(*arguments, _preload_content=False, _request_timeout=_TIMEOUT_SECONDS, **more)
    if answer.status != 200:
        raise ApiException(http_resp=answer)
    parsed: dict[str, Any] = json.loads(answer.data)
    return parsed


@contextlib.contextmanager
def ignoring(*statuses: int) -> Iterator[None]:
    """Pass over the API server's refusals of these statuses of HTTP."""
    try:
        yield
    except ApiException as error:
        if error.status not in statuses:
            raise
