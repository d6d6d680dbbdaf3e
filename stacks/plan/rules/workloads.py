"""The services and jobs of a plan in one shape, for the rules that hold for both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from stacks.plan.runners import CLOUD_RUN
from stacks.plan.types import AccountPlan, CloudRunPlan, GpuPlan, StackPlan


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


def path_of(deployment: CloudRunPlan) -> str:
    """Gives the configuration's path of a deployment."""
    return f"llm:deployments.{deployment.deployment}"


def workloads(plan: StackPlan) -> Iterator[Workload]:
    """Gives every service and every job of a plan."""
    for each in plan.deployments.values():
        job = each.weights
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
