"""Does for Services of type LoadBalancer what GKE's own controller does: gives an address, and takes it back.

As there, a finalizer keeps such a Service until its load balancer is gone, and a load balancer whose cluster
goes first stays behind. Nobody answers at the address.
https://kubernetes.io/docs/tasks/access-application-cluster/create-external-load-balancer/
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from pathlib import Path
from typing import Any

import urllib3
from kubernetes.client import ApiException, CoreV1Api

from rehearsal.cluster.api import connect
from rehearsal.world import AlreadyExists, World

FINALIZER = "service.kubernetes.io/load-balancer-cleanup"
RECORD = "compute.forwardingRule"
"""Kind of the world's record of a load balancer."""
_MERGE = "application/merge-patch+json"
_TIMEOUT_SECONDS = 30
_LOG = logging.getLogger(__name__)


def address_of(service: str) -> str:
    """The address that a Service gets, the same every time; from a block that nobody has (RFC 5737).

    Args:
        service: `NAMESPACE/NAME`.
    """
    return f"198.51.100.{1 + int(hashlib.sha256(service.encode()).hexdigest()[:4], 16) % 254}"


def status_of(service: str) -> dict[str, Any]:
    """The status of a Service that has its load balancer; the argument as for `address_of`."""
    return {"loadBalancer": {"ingress": [{"ip": address_of(service), "ipMode": "VIP"}]}}


class LoadBalancers:
    """The load balancers of one cluster.

    Args:
        world: has a record of each.
        cluster: `projects/P/locations/L/clusters/C`.
        admin: an administrator's kubeconfig.
    """

    def __init__(self, world: World, cluster: str, admin: Path) -> None:
        _, project, _, location, _, _ = cluster.split("/")
        region = location.rpartition("-")[0] if location.count("-") == 2 else location
        self._world = world
        self._cluster = cluster
        self._rules = f"compute.googleapis.com/projects/{project}/regions/{region}/forwardingRules"
        self._core = CoreV1Api(connect(admin))

    def look(self) -> None:
        """Give and take addresses as the Services are now; what fails is tried again with the next look."""
        try:
            listed: Any = self._core.list_service_for_all_namespaces(_request_timeout=_TIMEOUT_SECONDS)
            for service in listed.items:
                self._follow(service)
        except (ApiException, urllib3.exceptions.HTTPError) as error:
            _LOG.warning("load balancers: %s", error)

    def forget(self) -> None:
        """Remove the records of this cluster: its objects end with its control plane.

        Those of a cluster that was removed before them stay: nobody takes them away at Google either.
        """
        if self._world.get(f"container.googleapis.com/{self._cluster}") is None:
            return
        for record in self._world.list(RECORD, f"{self._rules}/"):
            if record.body["cluster"] == self._cluster:
                self._world.delete(record.name)

    def _follow(self, service: Any) -> None:
        wanted = service.spec.type == "LoadBalancer" and service.metadata.deletion_timestamp is None
        kept = FINALIZER in (service.metadata.finalizers or ())
        if wanted and not (kept and service.status.load_balancer.ingress):
            self._give(service)
        elif kept and not wanted:
            self._take(service)

    def _give(self, service: Any) -> None:
        """The finalizer first: a load balancer that is made must not be forgotten."""
        name = _name(service)
        if FINALIZER not in (service.metadata.finalizers or ()):
            self._finalizers(service, [*(service.metadata.finalizers or ()), FINALIZER])
        with contextlib.suppress(AlreadyExists):
            body = {"IPAddress": address_of(name), "cluster": self._cluster, "description": name}
            self._world.insert(RECORD, self._rule(service), body)
        self._status(service, status_of(name))

    def _take(self, service: Any) -> None:
        self._world.delete(self._rule(service))
        if service.metadata.deletion_timestamp is None:
            self._status(service, {"loadBalancer": None})
        self._finalizers(service, [each for each in service.metadata.finalizers if each != FINALIZER])

    def _rule(self, service: Any) -> str:
        return f"{self._rules}/a{service.metadata.uid.replace('-', '')}"

    def _finalizers(self, service: Any, finalizers: list[str]) -> None:
        # Without a resourceVersion another controller's finalizer, set meanwhile, would be lost.
        version = service.metadata.resource_version
        changed: Any = self._core.patch_namespaced_service(
            service.metadata.name,
            service.metadata.namespace,
            {"metadata": {"finalizers": finalizers, "resourceVersion": version}},
            _request_timeout=_TIMEOUT_SECONDS,
            _content_type=_MERGE,
        )
        service.metadata.resource_version = changed.metadata.resource_version

    def _status(self, service: Any, status: dict[str, Any]) -> None:
        changed: Any = self._core.patch_namespaced_service_status(
            service.metadata.name,
            service.metadata.namespace,
            {"status": status},
            _request_timeout=_TIMEOUT_SECONDS,
            _content_type=_MERGE,
        )
        service.metadata.resource_version = changed.metadata.resource_version


def _name(service: Any) -> str:
    return f"{service.metadata.namespace}/{service.metadata.name}"
