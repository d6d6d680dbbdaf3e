"""The models a stack may name, read from `data/models/`, one file for each family."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from stacks.config_errors import suggest
from stacks.plan.architecture import count_parameters, parameters
from stacks.plan.facts import DATA, read_table
from stacks.plan.report import Report
from stacks.plan.spec import ModelSpec

_PARAMETERS_TOLERANCE = 0.01


@cache
def catalog() -> Mapping[str, ModelSpec]:
    """Reads the catalog: model by the name that a stack file uses."""
    entries = {}
    for file in sorted((DATA / "models").glob("*.yaml")):
        entries.update(read_table(f"models/{file.stem}"))
    return MappingProxyType({name: ModelSpec.model_validate(entry) for name, entry in entries.items()})


def unconfirmed_fields(model: ModelSpec) -> tuple[str, ...]:
    """Names the fields of a model that nobody has checked against their source."""
    return tuple(sorted(name for name, certainty in model.certainty.items() if certainty == "U"))


def resolve_model(
    wanted: str | ModelSpec, revision: str | None, path: str, report: Report
) -> ModelSpec | None:
    """Finds the model that a deployment names or describes; what it returns has a revision.

    Args:
        wanted: a catalog name, or a whole description.
        revision: commit that replaces the model's own.
        path: path of the deployment in the stack file.
        report: receives what is wrong.
    """
    model = catalog().get(wanted) if isinstance(wanted, str) else wanted
    if model is None:
        report.problem(
            f"{path}.model",
            wanted,
            "is not in the catalog",
            f"{suggest(wanted, catalog())}; or describe it inline with the fields of a catalog entry",
        )
        return None
    _check_parameters(model, path, report)
    if not revision and not model.revision:
        report.problem(
            f"{path}.revision",
            None,
            f"is required: no commit of {model.repository} is known here",
            f"look it up: `git ls-remote https://huggingface.co/{model.repository} HEAD`",
        )
        return None
    return model.model_copy(update={"revision": revision}) if revision else model


def _check_parameters(model: ModelSpec, path: str, report: Report) -> None:
    counted = count_parameters(model.architecture) + model.vision_parameters
    if abs(parameters(model) - counted) > counted * _PARAMETERS_TOLERANCE:
        report.problem(
            f"{path}.model.parameters",
            model.parameters,
            f"is not what the architecture has: {counted:,}",
            f"write {counted}, or leave it out",
        )
