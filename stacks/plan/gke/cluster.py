"""The cluster that the `gke-tpu` deployments of a stack share, and its nodes without TPUs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from stacks.config_errors import suggest
from stacks.plan import naming
from stacks.plan.gke.facts import least_version
from stacks.plan.gke.identity import workload_pool
from stacks.plan.gke.nodes import DISK_GB, DISK_TYPE, boot_disk_gb
from stacks.plan.hardware import compute_machines
from stacks.plan.quantity import GIB, human
from stacks.plan.report import Report
from stacks.plan.types import AccountPlan, FoundationPlan
from stacks.plan.types_gke import ClusterPlan, CpuPoolPlan, GkeTpuPlan, NatPlan

if TYPE_CHECKING:
    from stacks.config_models import StackConfig
    from stacks.plan.cloud_run import Setting

NODE_ROLES: Final = ("roles/container.defaultNodeServiceAccount",)
"""What nodes need in the project: to log, to be monitored (cloud.google.com/kubernetes-engine/docs/how-to/
hardening-your-cluster, "Use least privilege IAM service accounts"). Storage is none of it."""
REPOSITORY_ROLES: Final = ("roles/artifactregistry.reader",)
CPU_LABELS: Final[Mapping[str, str]] = {"cloud.google.com/gke-nodepool": naming.cpu_pool()}
"""Labels of nodes without TPUs, by which jobs ask for them."""

_LEAST_MEMORY = 4 * GIB
_LEAST_CPUS = 2
"""For a weights job (256 MiB, half a CPU) beside DNS, metrics, collectors and disks' drivers. Assumed."""


def location(config: StackConfig) -> str:
    """Says where the control plane is: in the region, or in `gcp:zone`.

    It is never a deployment's zone: a cluster in another zone is another cluster, and which deployments there
    are must not decide on that. A zonal cluster without `gcp:zone` is refused by `plan_cluster`.
    """
    return config.zone if config.cluster.zonal and config.zone else config.region


def plan_cluster(
    config: StackConfig, deployments: Mapping[str, GkeTpuPlan], setting: Setting, report: Report
) -> ClusterPlan | None:
    """Plans the cluster; None where no deployment needs one.

    Args:
        config: the stack's.
        deployments: those on topology `gke-tpu`.
        setting: what they are planned in.
        report: receives what is wrong with `llm:cluster`.
    """
    if not any(each.topology == "gke-tpu" for each in config.deployments.values()):
        if config.cluster != type(config.cluster)():
            report.warn("llm:cluster: no deployment is on topology gke-tpu, so there is no cluster")
        return None
    _check_machine(config.cluster.cpu_pool.machine, report)
    zones = tuple(sorted({each.pool.zone for each in deployments.values()}))
    _check_reach(config, zones, report)
    if not deployments:
        return None
    shared = setting.foundation
    name = naming.cluster_name(config.stack)
    cluster = config.cluster
    return ClusterPlan(
        name=name,
        location=location(config),
        zones=zones,
        release_channel=cluster.release_channel.upper(),
        min_version=_min_version(deployments.values()),
        network=cluster.network,
        subnetwork=cluster.subnetwork,
        nat=NatPlan(name, shared.region) if cluster.nat else None,
        dns_endpoint=cluster.dns_endpoint,
        authorized_networks=cluster.authorized_networks,
        workload_pool=workload_pool(shared.project),
        gateway=any(each.expose == "gateway" for each in deployments.values()),
        deletion_protection=setting.profile.deletion_protection,
        account=_node_account(config.stack, shared),
        project_roles=NODE_ROLES,
        repository_roles=REPOSITORY_ROLES,
        labels=shared.labels,
        cpu_pool=CpuPoolPlan(
            name=naming.cpu_pool(),
            machine_type=cluster.cpu_pool.machine,
            min_nodes=cluster.cpu_pool.min,
            max_nodes=cluster.cpu_pool.max,
            disk_type=DISK_TYPE,
            disk_gb=_disk_gb(deployments.values()),
            zones=zones,
            node_labels=CPU_LABELS,
            resource_labels=shared.labels,
        ),
    )


def _check_machine(name: str, report: Report) -> None:
    """Reports a machine type that does not hold what the pool is for."""
    machine, path = compute_machines().get(name), "llm:cluster.cpuPool.machine"
    if machine is None:
        small = [one.name for one in compute_machines().values() if not one.accelerator]
        report.problem(path, name, "is no machine type known here", suggest(name, small))
    elif machine.accelerator:
        report.problem(path, name, f"has {machine.accelerator}, which nothing here uses", "use e2-standard-4")
    elif machine.memory_bytes < _LEAST_MEMORY or machine.cpus < _LEAST_CPUS:
        report.problem(
            path,
            name,
            f"has {machine.cpus} CPUs and {human(machine.memory_bytes)}, and a cluster's own pods and a "
            f"weights job need {_LEAST_CPUS} and {human(_LEAST_MEMORY)}",
            "use e2-standard-2 or larger",
        )
    elif DISK_TYPE not in machine.boot_disks:
        report.problem(
            path, name, f"takes no {DISK_TYPE} disk", "use e2-standard-4, or another machine that takes one"
        )


def _check_reach(config: StackConfig, zones: tuple[str, ...], report: Report) -> None:
    """Reports a control plane that would move with its deployments, and warns of one open to everybody."""
    cluster = config.cluster
    if cluster.zonal and config.zone is None:
        example = zones[0] if zones else f"{config.region}-a"
        report.problem(
            "llm:cluster.zonal",
            cluster.zonal,
            "needs gcp:zone: a control plane follows no deployment's zone, since one elsewhere is another "
            "cluster",
            f"set gcp:zone, for instance to {example}, or leave zonal out",
        )
    for each in cluster.authorized_networks:
        if each.endswith("/0"):
            report.warn(
                f"llm:cluster.authorizedNetworks: {each} is every address: the control plane then relies on "
                "IAM alone; name those that you deploy from"
            )


def _disk_gb(deployments: Iterable[GkeTpuPlan]) -> int:
    """Says how large a boot disk is: Google's converter writes on its node's."""
    scratch = [each.converter.scratch for each in deployments if each.converter is not None]
    return boot_disk_gb(max(scratch)) if scratch else DISK_GB


def _min_version(deployments: Iterable[GkeTpuPlan]) -> str | None:
    facts = [least_version(each.pool.accelerator) for each in deployments]
    versions = sorted({fact.value for fact in facts if fact is not None})
    return versions[-1] if versions else None


def _node_account(stack: str, shared: FoundationPlan) -> AccountPlan:
    account = naming.account_id(stack, "cluster", "nodes")
    email = naming.account_email(account, shared.project)
    return AccountPlan(account, email, f"Nodes of the cluster of stack {stack}"[:100])
