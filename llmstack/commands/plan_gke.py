"""What `llmstack plan` shows of topology `gke-tpu`: the cluster, and slices with what they cost."""

from __future__ import annotations

from collections import Counter

from llmstack.output import gib
from stacks.plan.hardware import compute_machines, tpu_machines
from stacks.plan.types import StackPlan
from stacks.plan.types_gke import ClusterPlan, CpuPoolPlan, GkeTpuPlan, TpuPoolPlan
from stacks.plan.types_weights import StagedModelPlan

CLUSTER_FEE_USD = 0.10
"""What GKE takes for a cluster, each hour: cloud.google.com/kubernetes-engine/pricing."""

Rows = list[tuple[str, str]]


def cluster_rows(cluster: ClusterPlan) -> Rows:
    """What the deployments of a stack share."""
    pool = cluster.cpu_pool
    reached = "its DNS name" if cluster.dns_endpoint else ", ".join(cluster.authorized_networks)
    return [
        ("where", f"{cluster.location}, nodes in {', '.join(cluster.zones)}"),
        ("release channel", cluster.release_channel.lower()),
        ("reached by", reached),
        ("network", cluster.network + (f", {cluster.subnetwork}" if cluster.subnetwork else "")),
        ("nodes without TPUs", f"{pool.min_nodes} to {pool.max_nodes} of {pool.machine_type}"),
        ("list price per hour", _shared_cost(pool)),
        ("deletion protection", "on" if cluster.deletion_protection else "off"),
    ]


def deployment_rows(plan: GkeTpuPlan) -> Rows:
    """One deployment's slices, server and objects."""
    pool, server = plan.pool, plan.server
    kinds = Counter(each.kind for each in plan.objects)
    job = plan.weights
    rows = [
        ("model", f"{plan.model} at {plan.staged.revision}"),
        ("engine", f"{plan.engine}, weights in {plan.dtype}"),
        ("slice of a replica", slice_text(pool)),
        ("capacity", _capacity(pool)),
        ("replicas", _replicas(plan)),
        ("nodes of the pool", f"{pool.name}: {pool.min_nodes} to {pool.max_nodes}"),
        ("list price per hour", cost_text(plan)),
        ("weights", _weights(plan.staged, plan)),
        (
            "staging job",
            f"{job.job_name} on {job.runner}: {job.sizing.machine}, needs {gib(job.sizing.need_bytes)} of "
            f"{gib(job.sizing.have_bytes)}",
        ),
        ("server", server.image + (f" and {server.http_image}" if server.http_image else "")),
        ("requests per replica", f"{server.batch_size} at once"),
        ("tokens", f"{server.max_input_tokens} of a prompt, {server.max_new_tokens} of an answer"),
        (
            "startup probe",
            f"{server.health_path}, gives up after {server.startup_seconds} s; loading takes about "
            f"{server.load_seconds} s",
        ),
        ("reached from", _reached(plan)),
        ("namespace", plan.namespace),
        ("identity", _identity(plan)),
        ("Kubernetes objects", f"{len(plan.objects)}: {', '.join(sorted(kinds))}"),
    ]
    return [row for row in rows if row[1]]


def slice_text(pool: TpuPoolPlan) -> str:
    """What a replica has: `8 chips of v5e (2x4) on one ct5lp-hightpu-8t`."""
    chips = "1 chip" if pool.chips == 1 else f"{pool.chips} chips"
    hosts = "one" if pool.hosts == 1 else str(pool.hosts)
    return f"{chips} of {pool.accelerator} ({pool.topology}) on {hosts} {pool.machine_type}, in {pool.zone}"


def replica_usd(pool: TpuPoolPlan) -> float | None:
    """What a slice costs in an hour, on demand in the United States; None where no price is known."""
    price = tpu_machines()[pool.machine_type].hourly_usd
    return price.value * pool.hosts if price is not None else None


def cost_text(plan: GkeTpuPlan) -> str:
    """What the slices of a deployment cost in an hour; empty where no price is known."""
    each = replica_usd(plan.pool)
    if each is None:
        return ""
    total = f"${each * plan.replicas:.2f}"
    if plan.max_replicas > plan.replicas:
        total += f" to ${each * plan.max_replicas:.2f}"
    kind = (
        "; spot costs less" if plan.pool.spot else "; flex-start costs less" if plan.pool.flex_start else ""
    )
    return f"{total} for {_count(plan)} of ${each:.2f} (on demand, United States{kind})"


def _count(plan: GkeTpuPlan) -> str:
    if plan.max_replicas > plan.replicas:
        return f"{plan.replicas} to {plan.max_replicas} slices"
    return "1 slice" if plan.replicas == 1 else f"{plan.replicas} slices"


def _replicas(plan: GkeTpuPlan) -> str:
    least, most = plan.replicas, plan.max_replicas
    return f"{least} to {most}, by the server's own load" if most > least else str(least)


def _capacity(pool: TpuPoolPlan) -> str:
    if pool.reservation:
        return f"reservation {pool.reservation}"
    if pool.flex_start:
        return f"flex-start, a node lives for at most {(pool.max_run_seconds or 0) // 3600} h"
    return "spot" if pool.spot else "on demand"


def _weights(staged: StagedModelPlan, plan: GkeTpuPlan) -> str:
    where = f"{staged.uri}/ ({staged.format}, {staged.dtype})"
    if plan.converter is not None:
        made = f"gs://{staged.bucket}/{plan.converter.prefix} ({plan.converter.format})"
        return f"{where}, converted unverified by {plan.converter.image} to {made}, mounted"
    if plan.disk is None:
        return f"{where}, mounted"
    disk = plan.disk
    copied = f", read from {disk.copy_type} {disk.copy_name}" if disk.copy_name else ""
    return f"{where}, copied to {disk.type} {disk.name} of {disk.size_gb} GB{copied}"


def _reached(plan: GkeTpuPlan) -> str:
    if plan.expose == "gateway":
        return f"https://{plan.host}, by {', '.join(plan.invokers) or 'nobody yet'}"
    inside = f"{plan.service_name}.{plan.namespace}.svc:{plan.server.http_port}"
    return f"the network, by an internal load balancer; {inside}" if plan.expose == "internal" else inside


def _identity(plan: GkeTpuPlan) -> str:
    server = plan.server_identity
    borrowed = f", as {server.account.email}" if server.account else ", granted roles itself"
    return f"{server.namespace}/{server.kubernetes_account}{borrowed}"


def idle_text(decided: StackPlan) -> str:
    """What a stack's cluster costs in an hour without any request; empty without one."""
    if decided.cluster is None:
        return ""
    pool = decided.cluster.cpu_pool
    slices = sum((replica_usd(plan.pool) or 0.0) * plan.replicas for plan in decided.on_tpu.values())
    parts = {
        "cluster": CLUSTER_FEE_USD,
        f"at least {pool.min_nodes} × {pool.machine_type}": (_node_usd(pool) or 0.0) * pool.min_nodes,
        "slices": slices,
    }
    shown = ", ".join(f"{what} ${usd:.2f}" for what, usd in parts.items())
    return f"${sum(parts.values()):.2f} per hour when idle: {shown}; disks and traffic are extra"


def _node_usd(pool: CpuPoolPlan) -> float | None:
    machine = compute_machines().get(pool.machine_type)
    return machine.hourly_usd.value if machine is not None and machine.hourly_usd is not None else None


def _shared_cost(pool: CpuPoolPlan) -> str:
    fee, node = f"${CLUSTER_FEE_USD:.2f} for the cluster", _node_usd(pool)
    if node is None:
        return fee
    return f"{fee}, ${node:.2f} for each node without TPUs (on demand, us-central1)"
