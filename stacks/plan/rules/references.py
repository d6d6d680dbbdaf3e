"""What a plan refers to is in the plan: accounts, images, buckets, secrets, places."""

from __future__ import annotations

from stacks.plan.hardware import is_zone_of
from stacks.plan.naming import account_email
from stacks.plan.report import Report
from stacks.plan.rules.facts import check_text
from stacks.plan.rules.workloads import accounts as accounts_of
from stacks.plan.rules.workloads import path_of, workloads
from stacks.plan.types import CloudRunPlan, StackPlan

_HUB_VARIABLE = "HF_TOKEN"


def accounts(plan: StackPlan, report: Report) -> None:
    """A workload's or a node's account has the address of the account that the stack makes."""
    for path, account in accounts_of(plan):
        right = account_email(account.account_id, plan.foundation.project)
        if account.email != right:
            report.problem(path, account.email, "is no service account of this stack", f"should be {right}")


def images(plan: StackPlan, report: Report) -> None:
    """A deployment's images of this stack, those of its pods among them, are the plan's."""
    listed = ", ".join(plan.images)
    for each in plan.deployments.values():
        for name in each.image_names:
            if name not in plan.images:
                report.problem(
                    path_of(each), name, "is an image that the plan does not have", f"have: {listed}"
                )


def image_addresses(plan: StackPlan, report: Report) -> None:
    """Every image lies in the stack's repository, which is where the components push it."""
    for name, image in plan.images.items():
        path = f"llm:images.{name}"
        check_text(report, "imageAddress", path, image.url, "is no address of an image")
        if image.url != f"{plan.foundation.repository.url}/{name}":
            report.problem(
                path,
                image.url,
                "is not in the stack's repository",
                f"should be {plan.foundation.repository.url}/{name}",
            )
        if image.digest is not None:
            check_text(report, "digest", f"{path}.digest", image.digest, "is no digest of an image")


def buckets(plan: StackPlan, report: Report) -> None:
    """What is mounted, and what is staged into, is the stack's bucket."""
    right = plan.foundation.bucket.name
    for each in plan.deployments.values():
        mounted = {each.volume.bucket} if isinstance(each, CloudRunPlan) else set()
        for name in sorted((mounted | {each.staged.bucket}) - {right}):
            report.problem(path_of(each), name, "is no bucket of this stack", f"should be {right}")


def places(plan: StackPlan, report: Report) -> None:
    """Everything is in the stack's region: a model read from afar is slow, and its bytes cost."""
    shared = plan.foundation
    found = {"bucket": shared.bucket.location, "repository": shared.repository.location}
    found |= {f"deployment {each.deployment}": each.location for each in plan.deployments.values()}
    for what, location in found.items():
        if location != shared.region and not is_zone_of(location, shared.region):
            report.problem(
                "gcp:region",
                location,
                f"is where the {what} is, outside of the region",
                f"should be {shared.region}",
            )


def token(plan: StackPlan, report: Report) -> None:
    """A job reads the Hub token from a secret that the plan has, and never as plain text."""
    for each in plan.deployments.values():
        if each.weights.hub_token and plan.foundation.hub_token is None:
            report.problem(
                path_of(each),
                each.weights.job_name,
                "reads a Hub token, and the stack has none",
                "set llm:hubToken or llm:hubTokenSecret",
            )
    for workload in workloads(plan):
        if _HUB_VARIABLE in workload.env:
            report.problem(
                workload.path, _HUB_VARIABLE, "would be in plain text", "keep it in a secret: llm:hubToken"
            )


def invokers(plan: StackPlan, report: Report) -> None:
    """Whoever may call a service is written as Google writes members.

    A service account of this project that the stack does not make can only be hoped to exist.
    """
    own = {
        f"serviceAccount:{account.email}" for each in plan.deployments.values() for account in each.accounts
    }
    domain = f"@{plan.foundation.project}.iam.gserviceaccount.com"
    for each in plan.deployments.values():
        path = f"{path_of(each)}.access.invokers"
        for member in each.invokers:
            check_text(report, "member", path, member, "is no IAM member")
            if member.startswith("serviceAccount:") and member.endswith(domain) and member not in own:
                report.warn(f"{path}: {member} is not made by this stack: it must exist before `up`")


RULES = (accounts, images, image_addresses, buckets, places, token, invokers)
