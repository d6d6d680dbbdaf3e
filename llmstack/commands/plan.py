"""`llmstack plan`: everything `pulumi up` would build, decided without the engine."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from llmstack.commands import plan_gke, plan_vertex
from llmstack.output import console, gib, print_json, print_table
from llmstack.project import find_root, load_plan
from stacks.plan.types import CloudRunPlan, DeploymentPlan, Sizing, StackPlan
from stacks.plan.types_vertex import VertexPlan


def plan(
    stack: Annotated[str, typer.Argument(help="Stack, for instance dev.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """What a stack decides: names, machines, probes, arithmetic."""
    decided = load_plan(find_root(), stack)
    if as_json:
        print_json(asdict(decided))
        return
    _foundation(decided)
    if decided.cluster is not None:
        print_table(
            f"Cluster {decided.cluster.name}", ("what", "value"), plan_gke.cluster_rows(decided.cluster)
        )
    for deployment in decided.deployments.values():
        _deployment(deployment)
    if cost := plan_gke.idle_text(decided):
        console.print(f"{cost}\n", markup=False, soft_wrap=True)
    for warning in decided.warnings:
        console.print(f"warning: {warning}", markup=False)
    for note in decided.notes:
        console.print(f"note: {note}", markup=False)


def _foundation(decided: StackPlan) -> None:
    foundation = decided.foundation
    protection = "on" if foundation.deletion_protection else "off"
    rows = [
        ("project, region", f"{foundation.project}, {foundation.region}"),
        ("environment", f"{decided.profile.name} (deletion protection {protection})"),
        ("bucket", f"gs://{foundation.bucket.name}"),
        ("images", foundation.repository.url),
        ("APIs", ", ".join(foundation.apis)),
        ("Hub token", foundation.hub_token.secret_id if foundation.hub_token else "none"),
    ]
    print_table(f"Stack {decided.stack}", ("what", "value"), rows)


def _deployment(deployment: DeploymentPlan) -> None:
    print_table(f"{deployment.deployment} on {deployment.topology}", ("what", "value"), _rows(deployment))
    for line in deployment.sizing.lines:
        console.print(f"  {gib(line.bytes):>10}  {line.what}: {line.arithmetic}", markup=False)
    console.print(f"  {gib(deployment.sizing.need_bytes):>10}  needed in all\n", markup=False)


def _rows(deployment: DeploymentPlan) -> list[tuple[str, str]]:
    if isinstance(deployment, CloudRunPlan):
        return _on_cloud_run(deployment)
    if isinstance(deployment, VertexPlan):
        return plan_vertex.deployment_rows(deployment)
    return plan_gke.deployment_rows(deployment)


def _on_cloud_run(deployment: CloudRunPlan) -> list[tuple[str, str]]:
    probe = deployment.startup_probe
    return [
        ("model", f"{deployment.model} at {deployment.staged.revision}"),
        ("engine", f"{deployment.engine}, computing in {deployment.dtype}"),
        ("weights", f"{deployment.staged.uri}/"),
        ("staging job", f"{deployment.weights.job_name}: {_machine(deployment.weights.sizing)}"),
        ("service", f"{deployment.service_name}: {_machine(deployment.sizing)}"),
        ("accounts", ", ".join(account.email for account in deployment.accounts)),
        ("instances", f"{deployment.min_instances} to {deployment.max_instances}"),
        ("requests per instance", f"{deployment.concurrency} at once, {deployment.timeout_seconds} s each"),
        (
            "startup probe",
            f"{probe.path}, every {probe.period_seconds} s, gives up after "
            f"{probe.period_seconds * probe.failure_threshold} s",
        ),
        ("may call it", ", ".join(deployment.invokers) or "nobody yet"),
    ]


def _machine(sizing: Sizing) -> str:
    return f"{sizing.machine}, needs {gib(sizing.need_bytes)} of {gib(sizing.have_bytes)}"
