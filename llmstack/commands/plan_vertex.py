"""What `llmstack plan` shows of topology `vertex`: machines, endpoint, switch, quota, idle cost."""

from __future__ import annotations

from llmstack.output import gib
from stacks.plan.types_vertex import QuotaPlan, ReplicaPlan, VertexEndpointPlan, VertexPlan

Rows = list[tuple[str, str]]


def deployment_rows(plan: VertexPlan) -> Rows:
    """One deployment's model, endpoint and machines."""
    container, sizing, job = plan.registered.container, plan.sizing, plan.weights
    probe = container.startup_probe
    return [
        ("model", f"{plan.model} at {plan.staged.revision}"),
        ("engine", f"{plan.engine}, computing in {plan.dtype}"),
        ("weights", f"{plan.staged.uri}/"),
        (
            "staging job",
            f"{job.job_name} on {job.runner}: {job.sizing.machine}, needs {gib(job.sizing.need_bytes)} of "
            f"{gib(job.sizing.have_bytes)}",
        ),
        ("registered as", f"{plan.registered.model_id}@{', '.join(plan.registered.version_aliases)}"),
        (
            "replica",
            f"{replica_text(plan.replica)}, needs {gib(sizing.need_bytes)} of {gib(sizing.have_bytes)}",
        ),
        ("replicas", _replicas(plan)),
        ("list price while idle", cost_text(plan)),
        ("quota", "; ".join(quota_text(each) for each in plan.quotas)),
        ("container", f"{container.image}, port {container.port}"),
        ("routes", f"health {container.health_route}, predictions {container.predict_route}"),
        (
            "startup probe",
            f"{' '.join(probe.command) or probe.path}, every {probe.period_seconds} s, gives up "
            f"after {probe.period_seconds * probe.failure_threshold} s",
        ),
        ("endpoint", endpoint_text(plan.endpoint)),
        ("a request", f"{plan.endpoint.request_seconds} s, {plan.endpoint.body_bytes / 1e6:g} MB at most"),
        ("a switch", switch_text(plan)),
        ("accounts", ", ".join(account.email for account in plan.accounts)),
        ("may ask it", _invokers(plan)),
    ]


def replica_text(replica: ReplicaPlan) -> str:
    """What a replica runs on: `n1-standard-8 with 1 nvidia-tesla-t4`."""
    gpus = f" with {replica.accelerator_count} {replica.accelerator}" if replica.accelerator else ""
    return f"{replica.machine_type}{gpus}{', spot' if replica.spot else ''}"


def cost_text(plan: VertexPlan) -> str:
    """What the fewest replicas cost in an hour and in a month."""
    cost = plan.idle_cost
    if cost is None:
        return "not known here"
    month = cost.hourly_usd * 730
    return f"${cost.hourly_usd:.2f} an hour, ${month:,.0f} a month: {cost.arithmetic}"


def quota_text(quota: QuotaPlan) -> str:
    """What is taken of a quota: always, and during a switch."""
    return f"{quota.steady} {quota.what}, {quota.peak} during a switch ({quota.quota or 'quota not known'})"


def endpoint_text(endpoint: VertexEndpointPlan) -> str:
    """How the endpoint is reached."""
    reached = {
        "public": "at the region's shared address",
        "dedicated": "at an address of its own",
        "private-service-connect": f"from networks of {', '.join(endpoint.projects)}",
    }
    return f"{endpoint.endpoint_id}, {reached[endpoint.kind]}"


def switch_text(plan: VertexPlan) -> str:
    """How requests move to another model."""
    if plan.traffic_steps == (100,):
        return "all requests at once, when the new model serves"
    steps = " %, then ".join(map(str, plan.traffic_steps))
    return f"{steps} % of requests, {plan.step_seconds} s apart, when the new model serves"


def _invokers(plan: VertexPlan) -> str:
    return f"{', '.join(plan.invokers)} as {plan.invoker_role}" if plan.invokers else "nobody yet"


def _replicas(plan: VertexPlan) -> str:
    if plan.max_replicas == plan.min_replicas:
        return str(plan.min_replicas)
    targets = [f"{name.rpartition('online/')[2]} at {target} %" for name, target in plan.metrics.items()]
    decides = ", ".join(targets) or "the busier of CPU and GPU"
    return f"{plan.min_replicas} to {plan.max_replicas}, by {decides}"
