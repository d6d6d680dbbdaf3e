"""Everything that Google would refuse about the resources of a finished plan.

These rules look at the plan alone: what the configuration's own checks let through, or a change of the
planner or of a table brings about, must not reach Google before it is found. Most of what can be wrong is
caught earlier, where a person wrote it; so these are asked only when nothing else was found.
"""

from __future__ import annotations

from collections.abc import Callable

from stacks.config_errors import Problem
from stacks.plan.report import Report
from stacks.plan.rules import (
    apis,
    clusters,
    containers,
    labels,
    machines,
    names,
    references,
    serving,
    storage,
    vertex,
    vertex_serving,
)
from stacks.plan.types import StackPlan

Rule = Callable[[StackPlan, Report], None]

RULES: tuple[Rule, ...] = (
    *names.RULES,
    *labels.RULES,
    *apis.RULES,
    *references.RULES,
    *machines.RULES,
    *serving.RULES,
    *containers.RULES,
    *storage.RULES,
    *vertex.RULES,
    *vertex_serving.RULES,
    *clusters.RULES,
)
"""Every rule once."""


def examine(plan: StackPlan) -> Report:
    """Asks every rule: problems from what is certain, warnings from what is unconfirmed."""
    report = Report()
    for rule in RULES:
        rule(plan, report)
    return report


def check_plan(plan: StackPlan) -> list[Problem]:
    """Gives everything that Google would refuse."""
    return examine(plan).problems
