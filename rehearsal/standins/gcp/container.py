"""Clusters and node pools of GKE (`gcp:container/cluster:Cluster`, `gcp:container/nodePool:NodePool`).

A record holds the inputs as the provider names them, under `spec`, beside what Google computes. Where the
rehearsal's own control plane runs for a cluster, its address and certificate are the cluster's.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import Any, ClassVar

from providers.base.values import UNKNOWN, Properties
from rehearsal.cluster.state import running
from rehearsal.standins.model import Cloud, RecordModel, label_outputs, present_only
from rehearsal.world import Record, World

_SERVICE = "container.googleapis.com"
_VERSION = "1.36.3-gke.1000000"
"""What a cluster runs unless the program asks for another one: that of the rehearsed control plane."""
_CLUSTER_ID = re.compile(
    r"projects/(?P<project>[^/]+)/locations/(?P<location>[^/]+)/clusters/(?P<cluster>[^/]+)"
)
_DEFAULT_POOL = "default-pool"
_NO_CERTIFICATE = (
    "-----BEGIN CERTIFICATE-----\n"
    "none: the control plane of this cluster is not running\n"
    "-----END CERTIFICATE-----\n"
)


class ContainerModel(RecordModel):
    """What clusters and pools share."""

    service = _SERVICE
    api = _SERVICE
    auto_name = "name"

    def to_body(self, cloud: Cloud, inputs: Properties, present: dict[str, Any]) -> dict[str, Any]:
        """The inputs, and what Google adds when the resource is made."""
        kept = {name: value for name, value in inputs.items() if name not in self.kept}
        return {
            "name": inputs["name"],
            "selfLink": f"https://{_SERVICE}/v1/{self.address(cloud, inputs).partition('/')[2]}",
            "createTime": present.get("createTime", cloud.world.now()),
            "spec": present_only(kept),
        }


class Cluster(ContainerModel):
    """A cluster; deleting it deletes its pools and all that is in it."""

    type_name = "gcp:container/cluster:Cluster"
    kind = "container.cluster"
    kept: ClassVar[Mapping[str, Any]] = {
        "deletionPolicy": "DELETE",
        "deletionProtection": True,
        "removeDefaultNodePool": None,
        "allowNetAdmin": None,
        "skipNodePoolRefresh": None,
        "ignoreNodeCountChanges": None,
    }
    unmanaged_maps = ("resourceLabels",)

    def address(self, cloud: Cloud, inputs: Properties) -> str:  # noqa: ARG002
        """The cluster in its region or zone."""
        return _cluster_name(inputs, inputs["name"])

    def create(self, cloud: Cloud, inputs: Properties) -> str:
        """The record, and the default pool unless the provider is to remove it."""
        id = super().create(cloud, inputs)
        if not (inputs.get("removeDefaultNodePool") or inputs.get("enableAutopilot")):
            name = f"{self.name_of(cloud, id)}/nodePools/{_DEFAULT_POOL}"
            count = inputs.get("initialNodeCount")
            spec = {"name": _DEFAULT_POOL, "initialNodeCount": count, "nodeConfig": inputs.get("nodeConfig")}
            cloud.world.insert(NodePool.kind, name, {"name": _DEFAULT_POOL, "spec": present_only(spec)})
        return id

    def from_body(self, cloud: Cloud, record: Record) -> Properties:
        """The inputs, with the addresses and certificates that Google puts among them."""
        spec, facts = record.body["spec"], cluster_facts(cloud.world, record)
        dns = (spec.get("controlPlaneEndpointsConfig") or {}).get("dnsEndpointConfig") or {}
        endpoints = {
            **(spec.get("controlPlaneEndpointsConfig") or {}),
            "dnsEndpointConfig": {**dns, "endpoint": facts["dnsEndpoint"]},
        }
        return {
            **spec,
            "controlPlaneEndpointsConfig": endpoints,
            "masterAuth": {
                **(spec.get("masterAuth") or {}),
                "clusterCaCertificate": facts["clusterCaCertificate"],
            },
            "privateClusterConfig": {
                **(spec.get("privateClusterConfig") or {}),
                "publicEndpoint": facts["endpoint"],
                "privateEndpoint": facts["privateEndpoint"],
            },
            "nodePools": [
                {"name": pool.body["name"]}
                for pool in cloud.world.list(NodePool.kind, f"{record.name}/nodePools/")
            ],
        }

    def computed(self, cloud: Cloud, record: Record) -> Properties:
        """Address, versions, names."""
        spec, facts = record.body["spec"], cluster_facts(cloud.world, record)
        labels = spec.get("resourceLabels")
        return {
            "endpoint": facts["endpoint"],
            "masterVersion": spec.get("minMasterVersion", _VERSION),
            "selfLink": record.body["selfLink"],
            "servicesIpv4Cidr": "34.118.224.0/20",
            "tpuIpv4CidrBlock": "",
            "operation": "",
            "emulatedVersion": "",
            "labelFingerprint": hashlib.sha256(repr(labels).encode()).hexdigest()[:8],
            **label_outputs(labels),
        }


class NodePool(ContainerModel):
    """A node pool. Where the rehearsal's control plane runs with `--pools`, its nodes are there."""

    type_name = "gcp:container/nodePool:NodePool"
    kind = "container.nodePool"
    kept: ClassVar[Mapping[str, Any]] = {"deletionPolicy": "DELETE", "ignoreNodeCountChanges": None}

    def defaults(self, cloud: Cloud, inputs: Properties) -> Properties:
        """A cluster's full name says the pool's project and location."""
        filled = super().defaults(cloud, inputs)
        found = _CLUSTER_ID.fullmatch(inputs["cluster"]) if isinstance(inputs.get("cluster"), str) else None
        if found is not None:
            return {**filled, "project": found["project"], "location": found["location"]}
        if inputs.get("cluster") is UNKNOWN and "location" not in inputs:
            return {**filled, "location": UNKNOWN}
        return filled

    def address(self, cloud: Cloud, inputs: Properties) -> str:  # noqa: ARG002
        """The pool in its cluster."""
        return f"{cluster_of(inputs)}/nodePools/{inputs['name']}"

    def from_body(self, cloud: Cloud, record: Record) -> Properties:  # noqa: ARG002
        """The inputs, with what Google fills in."""
        spec = record.body["spec"]
        _, project, _, location, _, cluster, _, name = record.name.partition("/")[2].split("/")
        scaling = spec.get("autoscaling") or {}
        least = scaling.get("minNodeCount", scaling.get("totalMinNodeCount"))
        count = next(
            (n for n in (spec.get("nodeCount"), spec.get("initialNodeCount"), least) if n is not None), 1
        )
        return {
            "cluster": cluster,
            "project": project,
            "location": location,
            "name": name,
            "nodeCount": count,
            "initialNodeCount": count,
            "maxPodsPerNode": 110,
            "version": _VERSION,
            "management": {"autoRepair": True, "autoUpgrade": True},
            **spec,
        }

    def computed(self, cloud: Cloud, record: Record) -> Properties:  # noqa: ARG002
        """Names of the instance groups."""
        _, project, _, location, _, cluster, _, name = record.name.partition("/")[2].split("/")
        zones = record.body["spec"].get("nodeLocations") or [location]
        groups = [
            "https://www.googleapis.com/compute/v1/projects/"
            f"{project}/zones/{zone}/instanceGroupManagers/gke-{cluster}-{name}-grp"
            for zone in zones
        ]
        return {
            "instanceGroupUrls": groups,
            "managedInstanceGroupUrls": [url.replace("Managers", "s") for url in groups],
            "operation": "",
        }


def cluster_of(inputs: Properties) -> str:
    """The full name of the cluster that a pool's inputs name."""
    cluster = str(inputs["cluster"])
    if _CLUSTER_ID.fullmatch(cluster):
        return f"{_SERVICE}/{cluster}"
    return _cluster_name(inputs, cluster)


def _cluster_name(inputs: Properties, cluster: str) -> str:
    return f"{_SERVICE}/projects/{inputs['project']}/locations/{inputs['location']}/clusters/{cluster}"


def cluster_facts(world: World, record: Record) -> dict[str, str]:
    """How to reach a cluster: the rehearsal's control plane where it runs, else names that nobody answers."""
    state = running(world.folder, record.name.partition("/")[2], jobs=True)
    if state is None:
        return idle_facts(world, record)
    addresses = dict.fromkeys(("endpoint", "privateEndpoint", "dnsEndpoint"), state.host)
    return {**addresses, "clusterCaCertificate": state.ca_certificate}


def idle_facts(world: World, record: Record) -> dict[str, str]:
    """The addresses of a cluster whose control plane does not run; they are the same every time."""
    path = record.name.partition("/")[2]
    _, project, _, location, _, _ = path.split("/")
    number = world.ensure_project(project).body["number"]
    digest = hashlib.sha256(path.encode()).hexdigest()
    region = location.rpartition("-")[0] if location.count("-") == 2 else location
    return {
        # Addresses for documentation, which nobody has: RFC 5737.
        "endpoint": f"203.0.113.{int(digest[:2], 16)}",
        "privateEndpoint": f"192.0.2.{int(digest[:2], 16)}",
        "dnsEndpoint": f"gke-{digest[:32]}-{number}.{region}.gke.goog",
        "clusterCaCertificate": base64.b64encode(_NO_CERTIFICATE.encode()).decode(),
    }
