"""Everything that can be decided before the engine runs, as pure data; nothing here imports Pulumi.

`build_plan` turns a configuration into a `stacks.plan.types.StackPlan`; `fit_model` says on which machines a
model fits.
"""

from stacks.plan.build import build_plan
from stacks.plan.fit import fit_model

__all__ = ["build_plan", "fit_model"]
