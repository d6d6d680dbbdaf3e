"""Whom pods are to Google: themselves, or a Google service account that they borrow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi_gcp import serviceaccount

from stacks.components.foundation import Foundation
from stacks.components.service_account import service_account
from stacks.plan.types_gke import IdentityPlan


@dataclass(frozen=True)
class WorkloadIdentity:
    """Whom to grant roles to, so that pods have them."""

    member: pulumi.Output[str]
    grants: list[pulumi.Resource]
    """What must be there before the pods are that member."""


def workload_identity(
    name: str,
    plan: IdentityPlan,
    foundation: Foundation,
    after: Sequence[pulumi.Resource],
    parent: pulumi.Resource,
) -> WorkloadIdentity:
    """Make the identity of a component's pods; what it may do is for the component to grant.

    Args:
        name: begins the logical names of the resources.
        plan: the pods' Kubernetes service account, and the Google one that they borrow, if any.
        foundation: has the bucket, which knows the project's number.
        after: the cluster; the project's workload pool comes with its first one.
        parent: the component that the pods belong to.
    """
    if plan.account is None:
        return WorkloadIdentity(_principal(plan, foundation), [])
    account = service_account(f"{name}-account", plan.account, foundation, parent)
    borrow = serviceaccount.IAMMember(
        f"{name}-pods",
        service_account_id=account.name,
        role="roles/iam.workloadIdentityUser",
        member=plan.workload_member,
        opts=pulumi.ResourceOptions(parent=parent, depends_on=list(after)),
    )
    return WorkloadIdentity(account.member, [borrow])


def _principal(plan: IdentityPlan, foundation: Foundation) -> pulumi.Output[str]:
    """The pods as members; Google names their pool by the project's number, which only Google knows."""
    # Numbers travel as floating-point ones.
    return foundation.bucket.project_number.apply(lambda number: plan.member(str(int(number))))
