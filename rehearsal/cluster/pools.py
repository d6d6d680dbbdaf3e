"""Has the nodes in a cluster that the rehearsed cloud's node pools say, whatever Pulumi makes of those."""

from __future__ import annotations

import logging
from pathlib import Path

import urllib3
from kubernetes.client import ApiException, CoreV1Api

from rehearsal.cluster.api import NodeApi, connect, ignoring
from rehearsal.cluster.control_plane import ControlPlane
from rehearsal.cluster.engine_stub import EngineStub
from rehearsal.cluster.kubelet import Kubelet
from rehearsal.cluster.node_pools import NodeSpec, UnknownMachineError, pool_nodes
from rehearsal.cluster.pod_run import Site
from rehearsal.cluster.port_forward import PortForwards
from rehearsal.cluster.simulated import SimulatedNodes, register

POOL = "container.nodePool"
"""Kind of the world's records of node pools."""
_LOG = logging.getLogger(__name__)


class PoolNodes:
    """The nodes of a cluster's pools. One without chips runs its pods; one with chips only takes them.

    Behind the ports of pods on chips is a stub of their engine, which `llmstack ask` reaches.

    Args:
        plane: certifies the nodes.
        site: where pods run.
        admin: an administrator's kubeconfig.
    """

    def __init__(self, plane: ControlPlane, site: Site, admin: Path) -> None:
        self._plane = plane
        self._site = site
        self._core = CoreV1Api(connect(admin))
        self._stub = EngineStub()
        self._stub.start()
        self._forwards = PortForwards(self._stub.reach, plane.authority.certify("forwards", "forwards"))
        self._forwards.start()
        self._simulated = SimulatedNodes(admin, port=self._forwards.port)
        self._simulated.start()
        self._kubelets: dict[str, tuple[NodeSpec, Kubelet]] = {}
        self._said: set[str] = set()

    def look(self) -> None:
        """Make and remove nodes as the pools are now; what fails is tried again with the next look."""
        specs = self._wanted()
        try:
            self._simulated.keep([spec for spec in specs if spec.has_chips])
            self._keep_kubelets([spec for spec in specs if not spec.has_chips])
        except (ApiException, urllib3.exceptions.HTTPError) as error:
            _LOG.warning("nodes of the pools: %s", error)

    def stop(self) -> None:
        """End every pod and leave the nodes."""
        self._simulated.stop()
        self._forwards.stop()
        self._stub.stop()
        for _, kubelet in self._kubelets.values():
            kubelet.stop()

    def _wanted(self) -> list[NodeSpec]:
        cluster = self._site.cluster
        _, _, _, location, _, name = cluster.split("/")
        found: list[NodeSpec] = []
        for record in self._site.world.list(POOL, f"container.googleapis.com/{cluster}/nodePools/"):
            try:
                found += pool_nodes(name, location, record.body["spec"])
            except UnknownMachineError as error:
                self._say_once(str(error))
        return found

    def _keep_kubelets(self, wanted: list[NodeSpec]) -> None:
        for name, (spec, kubelet) in list(self._kubelets.items()):
            if spec not in wanted:
                kubelet.stop()
                with ignoring(404):
                    self._core.delete_node(name)
                del self._kubelets[name]
        for spec in wanted:
            if spec.name not in self._kubelets:
                register(self._core, spec)
                identity = self._plane.kubeconfig(spec.name, f"system:node:{spec.name}", "system:nodes")
                kubelet = Kubelet(NodeApi(identity, spec.name), self._site, spec.name, spec=spec)
                kubelet.start()
                self._kubelets[spec.name] = spec, kubelet

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            _LOG.warning("%s", text)
