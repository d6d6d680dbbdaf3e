"""Names of everything that a plan makes."""

from __future__ import annotations

import ipaddress

from stacks.plan.report import Report
from stacks.plan.rules.facts import check_most, check_text
from stacks.plan.rules.workloads import accounts as accounts_of
from stacks.plan.rules.workloads import workloads
from stacks.plan.types import StackPlan

_PROJECT = "gcp:project"
"""A bucket's name begins with the project's, so that is where a wrong one is put right."""


def project(plan: StackPlan, report: Report) -> None:
    """The project's ID; an empty one leaves every resource without a project."""
    check_text(report, "project", _PROJECT, plan.foundation.project, "is not a project ID")


def services_and_jobs(plan: StackPlan, report: Report) -> None:
    """Names of Cloud Run services and jobs."""
    for each in workloads(plan):
        check_text(report, each.kind, each.path, each.name, f"is no name of a Cloud Run {each.kind}")


def accounts(plan: StackPlan, report: Report) -> None:
    """Ids of service accounts, and the names that people see."""
    for path, account in accounts_of(plan):
        check_text(report, "account", path, account.account_id, "is no id of a service account")
        size = len(account.display_name.encode())
        check_most(report, "displayNameMax", path, size, "bytes in a display name")


def bucket(plan: StackPlan, report: Report) -> None:
    """The bucket's name: its characters, its length, and what it must not look like."""
    name = plan.foundation.bucket.name
    for kind in ("bucket", "bucketNeighbours", "bucketOwner"):
        check_text(report, kind, _PROJECT, name, "is no name of a bucket")
    for part in name.split("."):
        check_most(report, "bucketNameMax", _PROJECT, len(part), "characters in a bucket's name")
    check_most(report, "dottedBucketNameMax", _PROJECT, len(name), "characters in a bucket's name")
    if _is_address(name):
        report.problem(_PROJECT, name, "is an IP address and no name of a bucket", "rename the stack")


def repository(plan: StackPlan, report: Report) -> None:
    """The image repository's id."""
    name = plan.foundation.repository.repository_id
    check_text(report, "repository", "", name, "is no id of an image repository")


def secret(plan: StackPlan, report: Report) -> None:
    """The id of the secret that holds the Hub token."""
    token = plan.foundation.hub_token
    if token is not None:
        check_text(report, "secret", "llm:hubTokenSecret", token.secret_id, "is no id of a secret")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


RULES = (project, services_and_jobs, accounts, bucket, repository, secret)
