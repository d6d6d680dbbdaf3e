"""Entry point of the Pulumi program: configuration, plan, resources, outputs."""

import pulumi

from stacks.config import ConfigError, from_engine, hub_token
from stacks.plan import build_plan
from stacks.stack import build_stack, export_stack


def main() -> None:
    """Build the selected stack, or end with every problem of its configuration and no traceback."""
    try:
        plan = build_plan(from_engine())
    except ConfigError as error:
        raise pulumi.RunError(str(error)) from None
    for warning in plan.warnings:
        pulumi.warn(warning)
    export_stack(plan, build_stack(plan, hub_token()))


main()
