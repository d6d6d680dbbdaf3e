"""The identity of one workload: a service account, as the plan names it."""

from __future__ import annotations

import pulumi
from pulumi_gcp import serviceaccount

from stacks.components.foundation import Foundation
from stacks.plan.types import AccountPlan


def service_account(
    name: str, plan: AccountPlan, foundation: Foundation, parent: pulumi.Resource
) -> serviceaccount.Account:
    """Make the account of a component's workload; what it may do is for the component to grant.

    Args:
        name: Logical name of the resource.
        plan: The account's id and display name.
        foundation: Has the API that must be enabled first.
        parent: The component that the account belongs to.
    """
    return serviceaccount.Account(
        name,
        account_id=plan.account_id,
        display_name=plan.display_name,
        # No value of the enabled API flows into the account.
        opts=pulumi.ResourceOptions(parent=parent, depends_on=foundation.api("iam")),
    )
