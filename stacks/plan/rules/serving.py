"""How much a service takes on, how long it and its job may take, and who reaches it."""

from __future__ import annotations

from stacks.plan.limits import cloud_run_limits
from stacks.plan.report import Report
from stacks.plan.rules.facts import google_names
from stacks.plan.rules.workloads import path_of
from stacks.plan.types import StackPlan


def concurrency(plan: StackPlan, report: Report) -> None:
    """Requests that one instance takes at once."""
    most = cloud_run_limits().concurrency_max.value
    for each in plan.on_cloud_run.values():
        if not 1 <= each.concurrency <= most:
            report.problem(
                f"{path_of(each)}.scaling.concurrency",
                each.concurrency,
                "is no number of requests that an instance takes at once",
                f"from 1 to {most}",
            )


def scaling_bounds(plan: StackPlan, report: Report) -> None:
    """Numbers of instances that can be."""
    for each in plan.on_cloud_run.values():
        path = f"{path_of(each)}.scaling"
        if each.max_instances < 1:
            report.problem(f"{path}.max", each.max_instances, "leaves no instance to answer", "at least 1")
        if each.min_instances < 0:
            report.problem(f"{path}.min", each.min_instances, "is no number of instances", "at least 0")


def scaling_order(plan: StackPlan, report: Report) -> None:
    """No more instances at least than at most."""
    for each in plan.on_cloud_run.values():
        if each.min_instances > each.max_instances:
            report.problem(
                f"{path_of(each)}.scaling.min",
                each.min_instances,
                f"is above max ({each.max_instances})",
                f"at most {each.max_instances}",
            )


def request_timeout(plan: StackPlan, report: Report) -> None:
    """Seconds that a request may take."""
    most = cloud_run_limits().request_timeout_max.value
    for each in plan.on_cloud_run.values():
        if not 0 < each.timeout_seconds <= most:
            report.problem(
                f"{path_of(each)}.timeoutSeconds",
                each.timeout_seconds,
                "is no time that a request may take",
                f"from 1 to {most} seconds",
            )


def task_timeout(plan: StackPlan, report: Report) -> None:
    """Seconds that one attempt of the staging job may take, and how often it is tried again."""
    most = cloud_run_limits().job_task_timeout_max.value
    for each in plan.deployments.values():
        if not 0 < each.weights.task_timeout_seconds <= most:
            report.problem(
                f"{path_of(each)}.model",
                each.weights.task_timeout_seconds,
                "is no time that staging may take",
                f"from 1 to {most} seconds",
            )
        if each.weights.max_retries < 0:
            report.problem(
                f"{path_of(each)}.model", each.weights.max_retries, "is no number of retries", "at least 0"
            )


def ports(plan: StackPlan, report: Report) -> None:
    """Ports that can be listened on."""
    most = google_names().limits["portMax"].value
    for each in plan.on_cloud_run.values():
        for port in sorted({each.port, each.startup_probe.port, each.liveness_probe.port}):
            if not 1 <= port <= most:
                report.problem(path_of(each), port, "is no port", f"from 1 to {most}")


def ingress(plan: StackPlan, report: Report) -> None:
    """From where a service is reached."""
    known = google_names().lists["ingress"].value
    for each in plan.on_cloud_run.values():
        if each.ingress not in known:
            report.problem(
                f"{path_of(each)}.access.ingress",
                each.ingress,
                "is no ingress",
                f"use one of {', '.join(known)}",
            )


RULES = (concurrency, scaling_bounds, scaling_order, request_timeout, task_timeout, ports, ingress)
