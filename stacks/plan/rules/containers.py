"""Environment and health checks of containers."""

from __future__ import annotations

from collections.abc import Iterator

from stacks.plan.limits import cloud_run_limits
from stacks.plan.report import Report
from stacks.plan.rules.facts import check_most, check_text, google_names, tell
from stacks.plan.rules.workloads import path_of, workloads
from stacks.plan.types import CloudRunPlan, ProbePlan, StackPlan

_LEAST = {"initial_delay_seconds": 0, "period_seconds": 1, "timeout_seconds": 1, "failure_threshold": 1}
_SECONDS = ("initial_delay_seconds", "period_seconds", "timeout_seconds")


def variable_names(plan: StackPlan, report: Report) -> None:
    """Names of environment variables: how they are written, how long, and not the platform's own."""
    reserved = google_names().lists["reservedVariables"]
    for each in workloads(plan):
        for name in each.env:
            check_text(report, "variable", each.path, name, "is no name of a variable")
            check_most(report, "variableNameMax", each.path, len(name), "characters in a variable's name")
            if name in reserved.value:
                tell(
                    report, reserved, each.path, name, "is a variable that the platform sets", "leave it out"
                )


def variable_values(plan: StackPlan, report: Report) -> None:
    """Values of environment variables: how long, and without a reference that nobody expands."""
    for each in workloads(plan):
        for name, value in each.env.items():
            check_most(
                report, "variableValueMax", each.path, len(value.encode()), f"bytes in the value of {name}"
            )
            check_text(report, "variableValue", each.path, value, f"is the value of {name}")


def variable_count(plan: StackPlan, report: Report) -> None:
    """How many environment variables a container has, the Hub token's among them."""
    for each in workloads(plan):
        check_most(report, "variablesMax", each.path, len(each.env) + 1, "environment variables")


def probe_minimums(plan: StackPlan, report: Report) -> None:
    """Numbers of a health check below their least."""
    for deployment, probe in _probes(plan):
        for name, least in _LEAST.items():
            value = getattr(probe, name)
            if value < least:
                report.problem(
                    path_of(deployment), value, f"is too little for a probe's {name}", f"at least {least}"
                )


def probe_timeouts(plan: StackPlan, report: Report) -> None:
    """No health check waits for an answer for longer than until the next one."""
    for deployment, probe in _probes(plan):
        if probe.timeout_seconds > probe.period_seconds:
            report.problem(
                path_of(deployment),
                probe.timeout_seconds,
                f"is more than the {probe.period_seconds} s between two probes",
                f"at most {probe.period_seconds}",
            )


def startup_windows(plan: StackPlan, report: Report) -> None:
    """How long a container may take to start, at most."""
    limits = cloud_run_limits()
    for each in plan.on_cloud_run.values():
        window = each.startup_probe.period_seconds * each.startup_probe.failure_threshold
        limit = limits.startup_window_gpu if each.gpu else limits.startup_window
        if window > limit.value:
            tell(
                report,
                limit,
                path_of(each),
                window,
                "is more seconds than a container may take to start",
                f"at most {limit.value}",
            )


def startup_fields(plan: StackPlan, report: Report) -> None:
    """Single times of a startup probe: documents contradict each other, so this only warns."""
    most = cloud_run_limits().probe_field_max.value
    for each in plan.on_cloud_run.values():
        for name in _SECONDS:
            value = getattr(each.startup_probe, name)
            if value > most:
                report.warn(f"{path_of(each)}: startup probe: {name} {value} is above {most} (unconfirmed)")


def liveness_fields(plan: StackPlan, report: Report) -> None:
    """Single times of a liveness probe."""
    for each in plan.on_cloud_run.values():
        for name in _SECONDS:
            check_most(
                report,
                "livenessFieldMax",
                path_of(each),
                getattr(each.liveness_probe, name),
                f"seconds for a liveness probe's {name}",
            )


def _probes(plan: StackPlan) -> Iterator[tuple[CloudRunPlan, ProbePlan]]:
    for each in plan.on_cloud_run.values():
        yield each, each.startup_probe
        yield each, each.liveness_probe


RULES = (
    variable_names,
    variable_values,
    variable_count,
    probe_minimums,
    probe_timeouts,
    startup_windows,
    startup_fields,
    liveness_fields,
)
