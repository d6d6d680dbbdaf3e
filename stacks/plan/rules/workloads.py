"""The services and jobs of a plan in one shape, for the rules that hold for both.

What runs in a cluster is no part of it: `stacks.plan.gke.check` looks at the objects themselves. Nor are
containers behind an endpoint of Vertex AI, whose rules are in `vertex_serving`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from stacks.plan.runners import CLOUD_RUN
from stacks.plan.types import AccountPlan, DeploymentPlan, GpuPlan, StackPlan

CLUSTER: Final = "llm:cluster"
"""Where the configuration has the cluster."""


@dataclass(frozen=True, slots=True)
class Workload:
    """A service, or the job that stages its weights."""

    path: str
    """Where the configuration has the deployment."""
    kind: str
    """`service` or `job`."""
    platform: str
    """`cloud-run` or `vertex`."""
    name: str
    account: AccountPlan
    image: str
    env: Mapping[str, str]
    cpu: str
    memory: str
    gpu: GpuPlan | None
    labels: Mapping[str, str]


def path_of(deployment: DeploymentPlan) -> str:
    """Gives the configuration's path of a deployment."""
    return f"llm:deployments.{deployment.deployment}"


def accounts(plan: StackPlan) -> Iterator[tuple[str, AccountPlan]]:
    """Gives every Google service account that the stack makes, with the configuration's path of its owner."""
    if plan.cluster is not None:
        yield CLUSTER, plan.cluster.account
    for each in plan.deployments.values():
        for account in each.accounts:
            yield path_of(each), account


def workloads(plan: StackPlan) -> Iterator[Workload]:
    """Gives every service and every job of a plan that is not in a cluster."""
    for each in plan.on_cloud_run.values():
        yield Workload(
            path=path_of(each),
            kind="service",
            platform=CLOUD_RUN,
            name=each.service_name,
            account=each.account,
            image=each.image,
            env=each.env,
            cpu=each.cpu,
            memory=each.memory,
            gpu=each.gpu,
            labels=each.labels,
        )
        yield from _job(each)
    for other in plan.beside_cloud_run:
        yield from _job(other)


def _job(each: DeploymentPlan) -> Iterator[Workload]:
    job = each.weights
    # Without a Google service account of its own it is a pod.
    if job.kubernetes is None and job.account is not None:
        yield Workload(
            path=path_of(each),
            kind="job",
            platform=job.runner,
            name=job.job_name,
            account=job.account,
            image=job.image,
            env=job.env,
            cpu=job.cpu,
            memory=job.memory,
            gpu=None,
            labels={**job.labels, **job.execution_labels},
        )
