"""The GKE cluster that a stack's TPU deployments share: control plane, way out, nodes without TPUs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import pulumi
from pulumi.output import UNKNOWN
from pulumi_gcp import artifactregistry, compute, container, projects
from pulumi_kubernetes import Provider

from stacks.components.foundation import Foundation
from stacks.components.node_pools import cpu_pool
from stacks.components.service_account import service_account
from stacks.plan.types_gke import ClusterPlan

_Endpoints: TypeAlias = container.outputs.ClusterControlPlaneEndpointsConfig
_PLUGIN = "gke-gcloud-auth-plugin"


@dataclass(frozen=True)
class TpuClusterArgs:
    """Inputs of :class:`TpuCluster`."""

    plan: ClusterPlan
    foundation: Foundation


class TpuCluster(pulumi.ComponentResource):
    """A Standard cluster with private nodes, and how to reach it.

    It owns the cluster, the account of its nodes (which may log, be monitored and pull the stack's images,
    nothing else), the nodes without TPUs, and the way out that private nodes need. Pods never act as their
    node: each has an identity of its own. The control plane is reached by its DNS name, where IAM decides, or
    by its address from named networks. Nothing that it hands out is a credential: whoever deploys shows
    Google's application-default credentials.
    """

    cluster: container.Cluster
    account: pulumi.Output[str]
    """E-mail address of the account that nodes run as."""
    path: str
    """`projects/P/locations/L/clusters/C`."""
    access: pulumi.Output[dict[str, Any]]
    """How our own provider reaches the cluster: `providers.modelops.kubernetes_access.ClusterAccess`."""
    provider: Provider
    ready: list[pulumi.Resource]
    """What must be there before pods run, and must still be there while they are removed."""

    def __init__(self, name: str, args: TpuClusterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("llm:index:TpuCluster", name, None, opts)
        plan, shared = args.plan, args.foundation
        self.path = f"projects/{shared.project}/locations/{plan.location}/clusters/{plan.name}"
        account = service_account(f"{name}-account", plan.account, shared, self)
        self.account = account.email
        grants = self._grants(name, args, account.member)
        way_out = self._way_out(name, args)
        self.cluster = self._cluster(name, args, [*grants, *way_out])
        cpu = cpu_pool(f"{name}-{plan.cpu_pool.name}", plan.cpu_pool, self.cluster, self.account, self)
        self.ready = [cpu, *grants, *way_out]
        self.access = _access(plan, self.cluster)
        self.provider = self._kubernetes(name)
        self.register_outputs({"cluster": self.cluster.id})

    def _grants(self, name: str, args: TpuClusterArgs, member: pulumi.Output[str]) -> list[pulumi.Resource]:
        plan, shared = args.plan, args.foundation
        own = pulumi.ResourceOptions(parent=self)
        return [
            *(
                projects.IAMMember(
                    f"{name}-nodes-{role.rpartition('/')[2]}",
                    project=shared.project,
                    role=role,
                    member=member,
                    opts=own,
                )
                for role in plan.project_roles
            ),
            *(
                artifactregistry.RepositoryIamMember(
                    f"{name}-nodes-{role.rpartition('/')[2]}",
                    repository=shared.repository.name,
                    location=shared.repository.location,
                    role=role,
                    member=member,
                    opts=own,
                )
                for role in plan.repository_roles
            ),
        ]

    def _way_out(self, name: str, args: TpuClusterArgs) -> list[pulumi.Resource]:
        """Cloud NAT, unless the network has one: without it, private nodes reach Google alone, no Hub."""
        nat = args.plan.nat
        if nat is None:
            return []
        router = compute.Router(
            f"{name}-router",
            name=nat.name,
            region=nat.region,
            network=args.plan.network,
            opts=pulumi.ResourceOptions(parent=self, depends_on=args.foundation.api("compute")),
        )
        return [
            compute.RouterNat(
                f"{name}-nat",
                name=nat.name,
                region=nat.region,
                router=router.name,
                nat_ip_allocate_option="AUTO_ONLY",
                source_subnetwork_ip_ranges_to_nat="ALL_SUBNETWORKS_ALL_IP_RANGES",
                opts=pulumi.ResourceOptions(parent=self),
            )
        ]

    def _cluster(self, name: str, args: TpuClusterArgs, after: list[pulumi.Resource]) -> container.Cluster:
        plan = args.plan
        # A cluster in one zone names only the zones beside its own.
        zones = [zone for zone in plan.zones if zone != plan.location]
        return container.Cluster(
            f"{name}-cluster",
            name=plan.name,
            location=plan.location,
            node_locations=zones or None,
            resource_labels=plan.labels,
            deletion_protection=plan.deletion_protection,
            release_channel={"channel": plan.release_channel},
            min_master_version=plan.min_version,
            network=plan.network,
            subnetwork=plan.subnetwork,
            networking_mode="VPC_NATIVE",
            ip_allocation_policy={},
            # It enforces the deployments' network policies.
            datapath_provider="ADVANCED_DATAPATH",
            private_cluster_config={"enable_private_nodes": True},
            **_endpoints(plan),
            workload_identity_config={"workload_pool": plan.workload_pool},
            addons_config={
                "gcs_fuse_csi_driver_config": {"enabled": True},
                "gce_persistent_disk_csi_driver_config": {"enabled": True},
            },
            gateway_api_config={"channel": "CHANNEL_STANDARD" if plan.gateway else "CHANNEL_DISABLED"},
            monitoring_config={
                "enable_components": ["SYSTEM_COMPONENTS"],
                "managed_prometheus": {"enabled": True},
            },
            logging_config={"enable_components": ["SYSTEM_COMPONENTS", "WORKLOADS"]},
            # Every pool is a resource of its own; the first nodes are gone once the cluster is there.
            remove_default_node_pool=True,
            initial_node_count=1,
            node_config={"service_account": self.account},
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=[*args.foundation.api("container", "compute"), *after],
                # Google keeps the cluster, the engine what would go before it.
                protect=plan.deletion_protection,
                # They describe the first nodes alone, and Google reports those of some pool in their place.
                ignore_changes=["initialNodeCount", "nodeConfig"],
            ),
        )

    def _kubernetes(self, name: str) -> Provider:
        return Provider(
            f"{name}-kubernetes",
            kubeconfig=pulumi.Output.json_dumps(_kubeconfig(name, self.access)),
            # Another address or certificate is still this cluster; only another cluster has other objects.
            cluster_identifier=self.cluster.id,
            # The program decides what its objects say. Without force, a field that somebody changed by hand,
            # or that an object had before `llmstack recover` imported it, would refuse the program's value.
            enable_server_side_apply=True,
            enable_patch_force=True,
            opts=pulumi.ResourceOptions(parent=self, replace_with=[self.cluster]),
        )


def _endpoints(plan: ClusterPlan) -> dict[str, Any]:
    """Who reaches the control plane, and how."""
    if plan.dns_endpoint:
        return {
            "control_plane_endpoints_config": {
                "dns_endpoint_config": {"allow_external_traffic": True},
                "ip_endpoints_config": {"enabled": False},
            }
        }
    return {
        "control_plane_endpoints_config": {
            "dns_endpoint_config": {"allow_external_traffic": False},
            "ip_endpoints_config": {"enabled": True},
        },
        "master_authorized_networks_config": {
            "cidr_blocks": [{"cidr_block": each} for each in plan.authorized_networks],
            "gcp_public_cidrs_access_enabled": False,
        },
    }


def _access(plan: ClusterPlan, cluster: container.Cluster) -> pulumi.Output[dict[str, Any]]:
    if plan.dns_endpoint:
        # A first preview takes the section for known as it was given, without what Google adds to it. The
        # address, which Google alone tells, is unknown then, and keeps the name from being asked for.
        section: pulumi.Output[_Endpoints] = cluster.endpoint.apply(
            lambda _: cluster.control_plane_endpoints_config
        )
        return section.apply(lambda found: {"endpoint": _dns(plan.name, found)})
    # A certificate is no secret; it only stands beside a key that would be one.
    certificate = pulumi.Output.unsecret(
        cluster.master_auth.apply(lambda found: found.cluster_ca_certificate)
    )
    return pulumi.Output.all(cluster.endpoint, certificate).apply(
        lambda known: {"endpoint": f"https://{known[0]}", "caCertificate": known[1]}
    )


def _dns(name: str, found: _Endpoints) -> Any:
    config = found.dns_endpoint_config
    if config is None or not config.endpoint:
        if pulumi.runtime.is_dry_run():
            # Also when it is changed or was just imported, a preview may show the section as it was given.
            return UNKNOWN
        raise pulumi.RunError(
            f"cluster {name} has no DNS endpoint; write dnsEndpoint: false and authorizedNetworks "
            "below llm:cluster"
        )
    return f"https://{config.endpoint}"


def _kubeconfig(name: str, access: pulumi.Output[dict[str, Any]]) -> pulumi.Output[Mapping[str, Any]]:
    """A kubeconfig that asks Google's plugin for a token of whoever deploys, and so holds none."""

    def write(known: dict[str, Any]) -> Mapping[str, Any]:
        certificate = known.get("caCertificate")
        cluster = {
            "server": known["endpoint"],
            **({"certificate-authority-data": certificate} if certificate else {}),
        }
        login = {
            "apiVersion": "client.authentication.k8s.io/v1beta1",
            "command": _PLUGIN,
            "args": ["--use_application_default_credentials"],
            "installHint": f"install {_PLUGIN}: gcloud components install {_PLUGIN}",
            "provideClusterInfo": True,
        }
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": cluster}],
            "users": [{"name": name, "user": {"exec": login}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "current-context": name,
        }

    return access.apply(write)
