"""Whether each deployment asks of its model what the model has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from stacks.config_errors import Problem
from stacks.plan.contract_bounds import TOKEN_LIMITS
from stacks.plan.contract_data import weights_contract
from stacks.plan.spec import ModelSpec
from stacks.plan.types import CloudRunPlan, DeploymentPlan, StackPlan
from stacks.plan.types_vertex import VertexPlan

_HUB_VARIABLE = "HF_TOKEN"


def check_model_contracts(plan: StackPlan, models: Mapping[str, ModelSpec]) -> list[Problem]:
    """Checks that each deployment asks of its model what the model has.

    Args:
        plan: the finished plan.
        models: the model of each deployment, by its logical name.
    """
    return [
        problem
        for name, deployment in plan.deployments.items()
        for problem in (*_tokens(deployment, models[name]), *_gated(plan, deployment, models[name]))
    ]


def _tokens(plan: DeploymentPlan, model: ModelSpec) -> Iterator[Problem]:
    path = f"llm:deployments.{plan.deployment}.limits"
    limits = _limits(plan)
    for name, value in limits.items():
        if not value.isdecimal() or int(value) < 1:
            yield Problem(path, value, f"is no number for {name}", "write a whole number of at least 1")
            return
    longest, new = (int(value) for value in limits.values())
    # A decoder's prompt and answer share its context; an encoder-decoder's do not.
    used = longest + new if model.family == "decoder" else max(longest, new)
    if used > model.context:
        yield Problem(
            path,
            str(used),
            f"is more tokens than {model.repository} takes",
            f"its context is {model.context}",
        )


def _limits(plan: DeploymentPlan) -> dict[str, str]:
    """Gives the longest prompt and answer, in this order, as the server is told."""
    if isinstance(plan, CloudRunPlan):
        return {name: plan.env.get(name, "") for name in TOKEN_LIMITS}
    if isinstance(plan, VertexPlan):
        return {name: plan.registered.container.env.get(name, "") for name in TOKEN_LIMITS}
    told = (plan.server.max_input_tokens, plan.server.max_new_tokens)
    return {name: str(value) for name, value in zip(TOKEN_LIMITS, told, strict=True)}


def _gated(plan: StackPlan, deployment: DeploymentPlan, model: ModelSpec) -> Iterator[Problem]:
    path = f"llm:deployments.{deployment.deployment}.model"
    if not model.gated or deployment.weights.source is not None:
        return
    if plan.foundation.hub_token is None or not deployment.weights.hub_token:
        yield Problem(
            path,
            model.repository,
            "is gated, and its job gets no Hub token",
            "set llm:hubToken or hubTokenSecret",
        )
    if _HUB_VARIABLE not in weights_contract().environment:
        yield Problem(path, _HUB_VARIABLE, "is given and not read", "add it to the image's contract")
