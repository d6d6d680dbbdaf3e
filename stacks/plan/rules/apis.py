"""APIs that must be enabled before anything of them is made."""

from __future__ import annotations

from collections.abc import Iterator

from stacks.plan.report import Report
from stacks.plan.rules.facts import check_text
from stacks.plan.runners import VERTEX
from stacks.plan.types import StackPlan

_DOMAIN = ".googleapis.com"


def names(plan: StackPlan, report: Report) -> None:
    """Full names of APIs."""
    for api in plan.foundation.apis:
        check_text(report, "api", "", api, "is no API")


def enabled(plan: StackPlan, report: Report) -> None:
    """The API of every resource is among those that the stack enables."""
    for api, what in _needed(plan):
        if f"{api}{_DOMAIN}" not in plan.foundation.apis:
            report.problem(
                "", f"{api}{_DOMAIN}", f"is not enabled, and {what} needs it", "add it to the APIs"
            )


def _needed(plan: StackPlan) -> Iterator[tuple[str, str]]:
    """APIs by the resources of the components: `stacks/components`, `stacks/topologies`."""
    yield "serviceusage", "enabling an API"
    yield "cloudresourcemanager", "reading the project"
    yield "storage", f"bucket {plan.foundation.bucket.name}"
    yield "artifactregistry", f"repository {plan.foundation.repository.repository_id}"
    if plan.foundation.hub_token is not None:
        yield "secretmanager", f"secret {plan.foundation.hub_token.secret_id}"
    for each in plan.deployments.values():
        yield "run", f"service {each.service_name}"
        yield "iam", f"service account {each.account.account_id}"
        if each.weights.runner == VERTEX:
            yield "aiplatform", f"custom job {each.weights.job_name}"


RULES = (names, enabled)
