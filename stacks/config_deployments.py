"""Reads `llm:deployments`: a fault in one part of a deployment hides none in another.

What is wrong is reported and left out, and the rest is planned all the same. What the plan would say only
because something is missing then, is not said.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from stacks.config_errors import (
    Problem,
    key_path,
    known_keys,
    nearest,
    problem_of,
    problems_of,
    show,
    suggest,
)
from stacks.config_models import DEPLOYMENTS, PLANNED_TOPOLOGIES, Deployment, ModelReference
from stacks.plan import naming
from stacks.plan.catalog import catalog, resolve_model
from stacks.plan.report import Report

_ROOT = "llm:deployments"
_DECIDE_THE_MACHINE = frozenset(
    {"model", "resources", "machine", "limits", "engine", "dtype", "weights", "tpu", "server"}
)
_ABOUT_THE_MODEL = ("model", "revision", "limits", "engine", "dtype", "server")

# Stands for a revision that is wrong.
_SOME_REVISION = "0" * 40


@dataclass(frozen=True, slots=True)
class _Read:
    """A deployment as far as it could be read.

    `wrong` names its keys that were wrong: they are left out, and a wrong model is replaced by another one.
    """

    name: str
    deployment: Deployment
    wrong: frozenset[str]


@dataclass(frozen=True, slots=True)
class Deployments:
    """The deployments of a stack, and what is wrong with them."""

    to_plan: Mapping[str, Deployment]
    """By name."""
    unsized: frozenset[str]
    """Those whose machine cannot be judged, since what decides it is wrong itself."""
    modelless: frozenset[str]
    """Those that have another model here, since their own is wrong."""
    renamed: Mapping[str, str]
    """The name as it was written, of those whose name is wrong and that have another one here."""
    problems: tuple[Problem, ...]

    def relevant(self, problems: Iterable[Problem]) -> Iterator[Problem]:
        """Gives what the plan says of what was written, without what it says of the replacements."""
        for problem in problems:
            name = next((name for name in self.to_plan if _is_below(problem.path, f"{_ROOT}.{name}")), None)
            own = f"{_ROOT}.{name}"
            if name in self.modelless and any(
                _is_below(problem.path, f"{own}.{key}") for key in _ABOUT_THE_MODEL
            ):
                continue
            if name is not None and name in self.renamed:
                path = key_path(_ROOT, self.renamed[name]) + problem.path.removeprefix(own)
                yield dataclasses.replace(problem, path=path)
            else:
                yield problem


def read_deployments(given: Mapping[str, Any]) -> Deployments:
    """Reads deployments.

    Args:
        given: the value of `llm:deployments`.
    """
    problems: list[Problem] = []
    found: list[_Read] = []
    renamed: dict[str, str] = {}
    for name, value in sorted(given.items()):
        path = key_path(_ROOT, name)
        read = _read(name, value, path, problems)
        if not naming.DEPLOYMENT_NAME.fullmatch(name):
            problems.append(_bad_name(path, name))
            stand_in = _free_name(given, renamed)
            renamed[stand_in] = name
            read = dataclasses.replace(read, name=stand_in) if read else None
        if read:
            found.append(read)
    return Deployments(
        to_plan={read.name: read.deployment for read in found},
        unsized=frozenset(read.name for read in found if read.wrong & _DECIDE_THE_MACHINE),
        problems=tuple(problems),
        modelless=frozenset(read.name for read in found if "model" in read.wrong),
        renamed=renamed,
    )


def _read(name: str, value: Any, path: str, problems: list[Problem]) -> _Read | None:
    if not isinstance(value, dict):
        remedy = "write {topology: cloud-run, model: MODEL}"
        problems.append(Problem(path, show(value), "is not a mapping", remedy))
        return None
    topology = value.get("topology", value.get(nearest("topology", value) or ""))
    if not (isinstance(topology, str) and topology in DEPLOYMENTS):
        problems.append(_bad_topology(path, topology))
        topology = nearest(topology or "", [*DEPLOYMENTS, *PLANNED_TOPOLOGIES])
    if topology is None or topology not in DEPLOYMENTS:
        problems += _model_problems(value, path)
        return None
    deployment, wrong = _validated(DEPLOYMENTS[topology], {**value, "topology": topology}, path, problems)
    if "model" not in wrong and (unknown := _catalog_problems(deployment, path)):
        problems += unknown
        deployment = deployment.model_copy(update={"model": _some_model()})
        wrong |= {"model"}
    return _Read(name, deployment, frozenset(wrong))


def _validated(
    model: type[Deployment], value: dict[str, Any], path: str, problems: list[Problem]
) -> tuple[Deployment, set[str]]:
    """Validates a deployment; gives it without its wrong keys, and their names."""
    value = _respelt(model, value, path, problems)
    errors = _errors(model, value, path, problems)
    wrong = {str(_location(error)[0]) for error in errors}
    value = _without(value, errors)
    if "model" in wrong:
        value = {**value, "model": _some_model()}
    if "revision" in wrong:
        value = {**value, "revision": _SOME_REVISION}
    # What is left may not fit together: min without the max that it was written for.
    unusable = {str(_location(error)[0]) for error in _errors(model, value, path, [])}
    return model.model_validate({key: item for key, item in value.items() if key not in unusable}), wrong


def _respelt(
    model: type[BaseModel], value: dict[str, Any], path: str, problems: list[Problem]
) -> dict[str, Any]:
    """Reports the unknown keys, and reads each as the key that it is most like, or not at all.

    A mapping is only checked as a whole where it has no unknown key.
    """
    try:
        model.model_validate(value)
    except ValidationError as error:
        unknown = [found for found in error.errors(include_url=False) if found["type"] == "extra_forbidden"]
        for details in unknown:
            problems.append(problem_of(details, model, path))
            keys = _location(details)
            value = _renamed(value, keys, nearest(keys[-1], known_keys(model, keys[:-1])))
        # A section that is spelt right now may hold unknown keys itself.
        return _respelt(model, value, path, problems) if unknown else value
    return value


def _renamed(value: dict[str, Any], keys: tuple[int | str, ...], name: str | None) -> dict[str, Any]:
    key, *rest = (str(key) for key in keys)
    if rest:
        return {**value, key: _renamed(value[key], tuple(rest), name)}
    others = {other: item for other, item in value.items() if other != key}
    return others if name is None or name in others else {**others, name: value[key]}


def _errors(model: type[BaseModel], value: object, path: str, problems: list[Problem]) -> list[ErrorDetails]:
    try:
        model.model_validate(value)
    except ValidationError as error:
        problems += problems_of(error, model, path)
        return error.errors(include_url=False)
    return []


def _location(error: ErrorDetails) -> tuple[int | str, ...]:
    """Says which key is wrong, as `problems_of` tells it."""
    parts = [part for part in error["loc"] if part not in ("<name>", "<inline>")]
    key = error.get("ctx", {}).get("key")
    return (*parts, key) if key is not None else tuple(parts)


def _without(value: dict[str, Any], errors: Iterable[ErrorDetails]) -> dict[str, Any]:
    """Removes what the errors are about: the innermost key, or the list that holds a wrong item."""
    for error in errors:
        value = _removed(value, _location(error))
    return value


def _removed(value: dict[str, Any], location: tuple[int | str, ...]) -> dict[str, Any]:
    key, *rest = location
    inner = value.get(str(key))
    if rest and isinstance(inner, dict):
        return {**value, str(key): _removed(inner, tuple(rest))}
    return {name: item for name, item in value.items() if name != key}


def _model_problems(value: dict[str, Any], path: str) -> list[Problem]:
    """Finds what is wrong with the model of a deployment whose topology has no model to check it by."""
    problems: list[Problem] = []
    if not _errors(ModelReference, value, path, problems):
        problems += _catalog_problems(ModelReference.model_validate(value), path)
    return problems


def _catalog_problems(deployment: Deployment | ModelReference, path: str) -> list[Problem]:
    """Says why there is no such model; what is wrong with one that exists, the plan says."""
    report = Report()
    resolved = resolve_model(deployment.model, deployment.revision, path, report)
    return report.problems if resolved is None else []


def _some_model() -> str:
    """Gives a model to plan with in place of a wrong one."""
    return next(name for name, model in catalog().items() if model.revision and not model.gated)


def _bad_name(path: str, name: str) -> Problem:
    return Problem(
        path,
        show(name),
        "is not a deployment's name",
        f"use 1 to {naming.DEPLOYMENT_MAX} lower-case letters, digits and hyphens, "
        "a letter first and no hyphen last",
    )


def _bad_topology(path: str, topology: object) -> Problem:
    path = f"{path}.topology"
    if topology is None:
        return Problem(path, None, "is required and missing", suggest("", DEPLOYMENTS))
    built = f"built now: {', '.join(sorted(DEPLOYMENTS))}"
    if topology in PLANNED_TOPOLOGIES:
        return Problem(path, show(topology), "is not built yet in this version", built)
    near = nearest(topology, [*DEPLOYMENTS, *PLANNED_TOPOLOGIES])
    if near in PLANNED_TOPOLOGIES:
        remedy = f"did you mean {near}? It is not built yet in this version; {built}"
    else:
        remedy = suggest(topology, DEPLOYMENTS)
    return Problem(path, show(topology), "is not a known topology", remedy)


def _free_name(*taken: Mapping[str, object]) -> str:
    """Makes a deployment's name that no other has."""
    number = 1
    while any(f"unnamed-{number}" in names for names in taken):
        number += 1
    return f"unnamed-{number}"


def _is_below(path: str, key: str) -> bool:
    return path == key or path.startswith((f"{key}.", f"{key}["))
