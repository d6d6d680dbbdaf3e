"""Puts objects into a real control plane with simulated nodes: where does its scheduler put their pods?"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubernetes.client import CoreV1Api

from rehearsal.cluster.api import connect
from rehearsal.cluster.bootstrap import bootstrap
from rehearsal.cluster.control_plane import ControlPlane
from rehearsal.cluster.engine_stub import EngineStub
from rehearsal.cluster.node_pools import NodeSpec, pool_nodes
from rehearsal.cluster.port_forward import PortForwards
from rehearsal.cluster.simulated import SimulatedNodes
from rehearsal.standins.kubernetes.kinds import kind_of
from rehearsal.standins.kubernetes.objects import ApiObjects, Name

Manifest = Mapping[str, Any]

ZONE = "us-central1-a"
LONGEST_SECONDS = 60.0
_CLUSTER = "llm"
_POLL_SECONDS = 0.1
_RANK_OF_PODS = 2


@dataclass(frozen=True)
class Pool:
    """A node pool.

    Attributes:
        name: its name.
        machine: its machine type, for instance `ct5lp-hightpu-8t`.
        nodes: how many.
        topology: of a slice of several machines; empty for machines that are slices of their own.
        zone: where they are.
        taints: as the provider writes them: key, value, effect such as `NO_SCHEDULE`.
        labels: more labels.
        spot: whether they can be taken away.
    """

    name: str
    machine: str
    nodes: int = 1
    topology: str = ""
    zone: str = ZONE
    taints: Sequence[Mapping[str, str]] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    spot: bool = False

    def specs(self) -> list[NodeSpec]:
        """Its nodes."""
        inputs: dict[str, Any] = {
            "name": self.name,
            "nodeCount": self.nodes,
            "nodeConfig": {
                "machineType": self.machine,
                "labels": dict(self.labels),
                "taints": list(self.taints),
                "spot": self.spot,
            },
        }
        if self.topology:
            inputs["placementPolicy"] = {"type": "COMPACT", "tpuTopology": self.topology}
        return pool_nodes(_CLUSTER, self.zone, inputs)


@dataclass(frozen=True)
class Placement:
    """What the scheduler decided about a pod.

    Attributes:
        owner: the object that asked for it, for instance `Deployment/assistant`.
        node: the node's name; None where it found none.
        pool: the node's pool; empty without a node.
        reason: the scheduler's own words where it found no node.
    """

    owner: str
    node: str | None
    pool: str
    reason: str


class Plane:
    """A control plane whose nodes each test says, with a stub of an engine behind the ports of their pods.

    Args:
        folder: an empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self._stub = EngineStub()
        self._stub.start()
        self.control = ControlPlane(folder)
        self.control.start()
        pair = self.control.authority.certify("forwards", "forwards")
        self._forwards = PortForwards(self._stub.reach, pair)
        self._forwards.start()
        self.admin = self.control.kubeconfig("person", "person", "system:masters")
        """An administrator's kubeconfig."""
        bootstrap(self.admin)
        self.nodes = SimulatedNodes(self.admin, port=self._forwards.port)
        self.nodes.start()

    def stop(self) -> None:
        """End it."""
        self.nodes.stop()
        self._forwards.stop()
        self.control.stop()
        self._stub.stop()


class Scheduler:
    """Asks a control plane where it would put pods.

    Args:
        plane: nobody else has pods in it meanwhile.
    """

    def __init__(self, plane: Plane) -> None:
        self._objects = ApiObjects(plane.admin)
        self._core = CoreV1Api(connect(plane.admin))
        self._nodes = plane.nodes
        self._count = 0

    def place(self, objects: Sequence[Manifest], pools: Sequence[Pool]) -> dict[str, Placement]:
        """Where each pod goes that the objects ask for, by the pod's name; only empty namespaces stay.

        Args:
            objects: any objects, every one of which must be accepted under strict validation of its fields.
            pools: the nodes that there are.

        Raises:
            Refusal: the API server does not take an object.
        """
        specs = [spec for pool in pools for spec in pool.specs()]
        self._nodes.keep(specs)
        self._count = len(specs)
        self._until("the nodes", lambda: self._settled(specs))
        names = [self._name(each) for each in objects]
        try:
            pairs = sorted(zip(names, objects, strict=True), key=lambda pair: _rank(pair[0]))
            for name, manifest in [pair for pair in pairs if _rank(pair[0]) < _RANK_OF_PODS]:
                self._objects.apply(name, dict(manifest), new=False)
            # A pod whose claim is not bound yet is passed over, and tried again only some time later.
            self._until("the claims", lambda: all(map(self._bound, names)))
            for name, manifest in [pair for pair in pairs if _rank(pair[0]) == _RANK_OF_PODS]:
                self._objects.apply(name, dict(manifest), new=False)
            wanted, namespaces = sum(map(_pods_of, objects)), {n.namespace for n in names if n.namespace}
            placements: dict[str, Placement] = self._until(
                "a decision about every pod", lambda: self._decided(namespaces, wanted)
            )
            return placements
        finally:
            self._clear(names)

    def accepts(self, objects: Sequence[Manifest]) -> None:
        """Send objects without keeping any, those of a namespace that is not there into the default one.

        Raises:
            Refusal: the API server does not take one.
        """
        for manifest in objects:
            name = self._name(manifest)
            if name.namespace:
                meta = {**manifest["metadata"], "namespace": "default"}
                manifest, name = {**manifest, "metadata": meta}, Name(name.kind, "default", name.name)
            self._objects.apply(name, dict(manifest), new=False, dry=True)

    def _name(self, manifest: Manifest) -> Name:
        version = manifest["apiVersion"]
        token = f"kubernetes:{version if '/' in version else f'core/{version}'}:{manifest['kind']}"
        kind, meta = kind_of(token), manifest["metadata"]
        return Name(kind, meta.get("namespace", "default") if kind.namespaced else "", meta["name"])

    def _settled(self, specs: Sequence[NodeSpec]) -> bool:
        """Whether the nodes are there, ready and without the taints of nodes that have just come."""
        listed: Any = self._core.list_node()
        found = {node.metadata.name: len(node.spec.taints or ()) for node in listed.items}
        return found == {spec.name: len(spec.taints) for spec in specs}

    def _decided(self, namespaces: set[str], wanted: int) -> dict[str, Placement] | None:
        found: dict[str, Placement] = {}
        for pod in [pod for namespace in namespaces for pod in self._pods(namespace)]:
            placement = self._placement(pod)
            if placement is None:
                return None
            found[pod.metadata.name] = placement
        return found if len(found) == wanted else None

    def _pods(self, namespace: str) -> list[Any]:
        return list(self._core.list_namespaced_pod(namespace).items)

    def _placement(self, pod: Any) -> Placement | None:
        owner, node = _owner(pod), pod.spec.node_name
        if node is not None:
            labels = self._core.read_node(node).metadata.labels  # type: ignore[union-attr]
            return Placement(owner, node, (labels or {})["cloud.google.com/gke-nodepool"], "")
        for each in pod.status.conditions or ():
            if each.type == "PodScheduled" and each.reason == "Unschedulable":
                # A scheduler that has not seen every node yet decides again.
                seen = each.message.startswith(f"0/{self._count} nodes are available")
                return Placement(owner, None, "", each.message) if seen else None
        return None

    def _bound(self, name: Name) -> bool:
        """Whether a claim that names its volume has it; anything else needs none."""
        claim = self._objects.get(name) if name.kind.name == "PersistentVolumeClaim" else None
        if claim is None or not claim["spec"].get("volumeName"):
            return True
        return bool(claim.get("status", {}).get("phase") == "Bound")

    def _clear(self, names: Sequence[Name]) -> None:
        """Remove everything but namespaces, each of which its controller lets wait for five seconds."""
        gone = [name for name in sorted(names, key=_rank, reverse=True) if name.kind.name != "Namespace"]
        for name in gone:
            self._objects.delete(name, "Background")
        namespaces = {name.namespace for name in gone if name.namespace}
        self._until("the end of the pods", lambda: not any(map(self._pods, namespaces)))
        self._until("the end of the objects", lambda: not any(map(self._objects.get, gone)))

    def _until(self, what: str, true: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + LONGEST_SECONDS
        while not (found := true()):
            assert time.monotonic() < deadline, f"{what} did not come: {self._told()}"
            time.sleep(_POLL_SECONDS)
        return found

    def _told(self) -> str:
        """What the controllers and the scheduler complain about."""
        events: Any = self._core.list_event_for_all_namespaces(field_selector="type=Warning")
        return "; ".join(sorted({f"{event.reason}: {event.message}" for event in events.items}))


def pools_of(placements: Mapping[str, Placement], owner: str) -> list[str]:
    """The pools in which an owner's pods are, sorted; empty text for a pod without a node."""
    return sorted(each.pool for each in placements.values() if each.owner == owner)


def _owner(pod: Any) -> str:
    """The object of the program's: a Deployment's pods are owned by a set that is named after it."""
    for each in pod.metadata.owner_references or ():
        if each.kind == "ReplicaSet":
            return f"Deployment/{each.name.rpartition('-')[0]}"
        return f"{each.kind}/{each.name}"
    return f"Pod/{pod.metadata.name}"


def _rank(name: Name) -> int:
    """Namespaces first, then what Pods refer to, then what makes Pods."""
    if name.kind.name in ("Deployment", "StatefulSet", "Job", "Pod"):
        return _RANK_OF_PODS
    return 0 if name.kind.name == "Namespace" else 1


def _pods_of(manifest: Manifest) -> int:
    spec = manifest.get("spec") or {}
    counts = {
        "Deployment": spec.get("replicas", 1),
        "StatefulSet": spec.get("replicas", 1),
        "Job": spec.get("parallelism", 1),
        "Pod": 1,
    }
    return int(counts.get(manifest["kind"], 0))
