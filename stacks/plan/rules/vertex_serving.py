"""Endpoints, models and deployments of Vertex AI: names, machines, containers, traffic."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from stacks.plan.facts import Fact
from stacks.plan.hardware import accelerators, compute_machines
from stacks.plan.limits import vertex_limits
from stacks.plan.report import Report
from stacks.plan.rules.facts import google_names, tell
from stacks.plan.rules.workloads import path_of
from stacks.plan.types import StackPlan
from stacks.plan.types_vertex import ReplicaPlan, VertexContainerPlan
from stacks.plan.vertex.facts import serving_facts
from stacks.plan.vertex.machines import gpu_counts

_PRIVATE = "private-service-connect"


def names(plan: StackPlan, report: Report) -> None:
    """Numbers of endpoints, ids of models, aliases of versions, and the names that people see."""
    facts = serving_facts()
    for each in plan.on_vertex.values():
        path = path_of(each)
        _check_pattern(report, facts.endpoint_id, path, each.endpoint.endpoint_id, "is no id of an endpoint")
        _check_pattern(report, facts.model_id, path, each.registered.model_id, "is no id of a model")
        for alias in each.registered.version_aliases:
            _check_pattern(report, facts.version_alias, path, alias, "is no alias of a version")
        most = facts.display_name_max
        for name in (each.endpoint.display_name, each.registered.display_name):
            if not 1 <= len(name) <= most.value:
                tell(report, most, path, name, "is no name to show", f"1 to {most.value} characters")


def regions(plan: StackPlan, report: Report) -> None:
    """An endpoint is in a region where Vertex AI has an address."""
    known = vertex_limits().regions.value
    for each in plan.on_vertex.values():
        if each.location not in known:
            report.problem(
                path_of(each), each.location, "is a region without Vertex AI", f"use {', '.join(known)}"
            )


def machines(plan: StackPlan, report: Report) -> None:
    """A replica's machine type is one that Vertex AI serves with."""
    for path, replica in _replicas(plan):
        machine = compute_machines().get(replica.machine_type)
        if machine is None or not machine.vertex_serving:
            report.problem(
                f"{path}.type",
                replica.machine_type,
                "is no machine type that Vertex AI serves with",
                "use one of stacks/plan/data/machines.yaml with vertexServing",
            )


def gpu_names(plan: StackPlan, report: Report) -> None:
    """A GPU has the name that Vertex AI gives it, and a number; without one there is neither."""
    for path, replica in _replicas(plan):
        gpu = accelerators().get(replica.accelerator or "")
        right = gpu.vertex_name if gpu else None
        if replica.accelerator_type != right:
            report.problem(
                f"{path}.accelerator", replica.accelerator_type, "is no GPU's name here", f"should be {right}"
            )
        if (replica.accelerator_count > 0) != (gpu is not None):
            report.problem(
                f"{path}.count",
                replica.accelerator_count,
                "is no number of GPUs for this machine",
                "at least 1 with a GPU, 0 without",
            )


def gpu_machines(plan: StackPlan, report: Report) -> None:
    """A GPU is one that the machine has, or takes, in a number that it has, or takes."""
    for path, replica in _replicas(plan):
        machine = compute_machines().get(replica.machine_type)
        if machine is None or replica.accelerator is None:
            continue
        able = gpu_counts(machine, replica.accelerator)
        if replica.accelerator_count not in able:
            report.problem(
                f"{path}.accelerator",
                f"{replica.accelerator_count} {replica.accelerator}",
                f"cannot be had with {machine.name}",
                f"of these it has {', '.join(map(str, able)) or 'none'}",
            )


def replicas(plan: StackPlan, report: Report) -> None:
    """At least one replica, and no fewer at most than at least."""
    for each in plan.on_vertex.values():
        path = f"{path_of(each)}.scaling"
        if each.min_replicas < 1:
            report.problem(f"{path}.min", each.min_replicas, "leaves no replica to answer", "at least 1")
        if each.max_replicas < each.min_replicas:
            report.problem(f"{path}.max", each.max_replicas, "is below min", f"at least {each.min_replicas}")


def metrics(plan: StackPlan, report: Report) -> None:
    """What decides on replicas is a metric of Vertex AI's, with a target in percent."""
    known = serving_facts().metrics
    for each in plan.on_vertex.values():
        for metric, target in each.metrics.items():
            path = f"{path_of(each)}.scaling"
            if metric not in known.value.values():
                tell(
                    report,
                    known,
                    f"{path}.metric",
                    metric,
                    "is no metric",
                    f"use {', '.join(known.value.values())}",
                )
            if not 1 <= target <= 100:
                report.problem(f"{path}.target", target, "is no target in percent", "from 1 to 100")


def traffic(plan: StackPlan, report: Report) -> None:
    """Requests move in rising steps to the new model, all of them in the end, and the engine waits for it."""
    for each in plan.on_vertex.values():
        path, steps = f"{path_of(each)}.traffic", each.traffic_steps
        rising = all(before < after for before, after in pairwise((0, *steps)))
        if not steps or not rising or steps[-1] != 100:
            report.problem(f"{path}.steps", steps, "does not rise to 100", "for instance [10, 50, 100]")
        needed = each.registered.container.deployment_seconds + len(steps) * each.step_seconds
        if each.update_seconds < needed:
            report.problem(
                f"{path}.stepSeconds",
                each.update_seconds,
                "is less time than a switch may take",
                f"at least {needed} seconds",
            )


def variables(plan: StackPlan, report: Report) -> None:
    """Environment of the container: how many, how large, and none that the platform sets itself."""
    facts = serving_facts()
    for path, container in _containers(plan):
        sizes = {name: len(f"{name}={value}".encode()) for name, value in container.env.items()}
        if len(sizes) > facts.variables_max.value:
            tell(
                report,
                facts.variables_max,
                path,
                len(sizes),
                "is too many environment variables",
                f"at most {facts.variables_max.value}",
            )
        for name, size in sizes.items():
            if size > facts.variable_max.value:
                most = f"at most {facts.variable_max.value} bytes"
                tell(report, facts.variable_max, path, name, f"is a variable of {size} bytes", most)
            if name.startswith(facts.reserved_prefix.value):
                tell(
                    report,
                    facts.reserved_prefix,
                    path,
                    name,
                    "is a variable that the platform sets",
                    "leave it out",
                )
        if sum(sizes.values()) > facts.variables_total_max.value:
            most = f"at most {facts.variables_total_max.value} bytes"
            tell(report, facts.variables_total_max, path, sum(sizes.values()), "is too large in all", most)


def routes(plan: StackPlan, report: Report) -> None:
    """Paths begin with a slash, and the port can be listened on."""
    most = google_names().limits["portMax"].value
    for path, container in _containers(plan):
        for route in (container.health_route, container.predict_route):
            if not route.startswith("/"):
                report.problem(path, route, "is no path of a route", f"write /{route}")
        if not 1 <= container.port <= most:
            report.problem(path, container.port, "is no port", f"from 1 to {most}")


def starts(plan: StackPlan, report: Report) -> None:
    """How long a start may take, and how it is looked at."""
    most = serving_facts().deployment_seconds_max
    for path, container in _containers(plan):
        probe = container.startup_probe
        if not 1 <= probe.period_seconds <= probe.timeout_seconds:
            report.problem(
                path,
                probe.timeout_seconds,
                f"is less than the {probe.period_seconds} s between two probes, which Vertex AI refuses",
                f"at least {probe.period_seconds}",
            )
        window = probe.period_seconds * probe.failure_threshold
        if not 1 <= window <= container.deployment_seconds:
            report.problem(
                path,
                window,
                "is no time that a start may take within its deployment's",
                f"at most {container.deployment_seconds}",
            )
        if container.deployment_seconds > most.value:
            seconds = container.deployment_seconds
            tell(report, most, path, seconds, "is no time for a deployment", f"at most {most.value} seconds")


def endpoints(plan: StackPlan, report: Report) -> None:
    """Projects that may connect are those of a private endpoint, which has one at least."""
    for each in plan.on_vertex.values():
        if (each.endpoint.kind == _PRIVATE) != bool(each.endpoint.projects):
            report.problem(
                f"{path_of(each)}.endpoint.projects",
                ", ".join(each.endpoint.projects) or None,
                f"does not go with kind {each.endpoint.kind}",
                f"kind {_PRIVATE} has some, the others none",
            )


def _check_pattern(report: Report, fact: Fact[str], path: str, value: str, reason: str) -> None:
    if not re.fullmatch(fact.value, value):
        tell(report, fact, path, value, reason, f"allowed: {fact.value}")


def _replicas(plan: StackPlan) -> Iterator[tuple[str, ReplicaPlan]]:
    for each in plan.on_vertex.values():
        yield f"{path_of(each)}.machine", each.replica


def _containers(plan: StackPlan) -> Iterator[tuple[str, VertexContainerPlan]]:
    for each in plan.on_vertex.values():
        yield path_of(each), each.registered.container


RULES = (
    names,
    regions,
    machines,
    gpu_names,
    gpu_machines,
    replicas,
    metrics,
    traffic,
    variables,
    routes,
    starts,
    endpoints,
)
