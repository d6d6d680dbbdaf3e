"""Labels of everything that a plan makes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from stacks.plan.report import Report
from stacks.plan.rules.facts import check_most, check_text
from stacks.plan.rules.workloads import path_of, workloads
from stacks.plan.types import StackPlan


def syntax(plan: StackPlan, report: Report) -> None:
    """Names and values of labels; a name in one of Google's own namespaces has a `/` and is none."""
    for path, labels in _labels(plan):
        for key, value in labels.items():
            check_text(report, "labelKey", f"{path}.{key}", key, "is no name of a label")
            check_text(report, "labelValue", f"{path}.{key}", value, "is no value of a label")


def count(plan: StackPlan, report: Report) -> None:
    """How many labels one resource has."""
    for path, labels in _labels(plan):
        check_most(report, "labelsMax", path, len(labels), "labels on one resource")


def _labels(plan: StackPlan) -> Iterator[tuple[str, Mapping[str, str]]]:
    yield "llm:labels", plan.foundation.labels
    for each in workloads(plan):
        yield each.path, each.labels
    for deployment in plan.beside_cloud_run:
        yield path_of(deployment), {**deployment.labels, **deployment.weights.execution_labels}


RULES = (syntax, count)
