"""Ways of showing that the plan catches what the stand-in refuses: see `plan_refusals`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from providers.base.paths import children, parse_path, same_step
from stacks.plan.types import StackPlan
from tests.components.conftest import Registered

Change = Callable[[StackPlan], StackPlan]
Proof = Callable[[Sequence[Registered]], None]
replace = dataclasses.replace


@dataclass(frozen=True)
class Broken:
    """A finished plan with one thing wrong, which the plan's rules find."""

    row: str
    says: str
    change: Change
    tpu: bool = False
    """Whether the plan is one for TPUs."""


@dataclass(frozen=True)
class Refused:
    """A configuration that is refused before there is a plan, at a path."""

    row: str
    path: str
    says: str
    config: dict[str, Any]


@dataclass(frozen=True)
class Warned:
    """A configuration that is planned with a warning."""

    row: str
    says: str
    config: dict[str, Any]


@dataclass(frozen=True)
class Impossible:
    """Nothing that a plan can say leads to it; the proof holds for the resources of every generated plan."""

    row: str
    why: str
    proof: Proof


# Changes of a plan -------------------------------------------------------------------------------------


def deployment(**changes: Any) -> Change:
    """Changes the only deployment; a function is given what was there."""

    def change(plan: StackPlan) -> StackPlan:
        ((name, found),) = plan.deployments.items()
        given = {
            key: value(getattr(found, key)) if callable(value) else value for key, value in changes.items()
        }
        return replace(plan, deployments={name: replace(found, **given)})

    return change


def inside(part: str, **changes: Any) -> Change:
    """Changes one part of the only deployment, for instance its volume."""
    return deployment(**{part: lambda found: replace(found, **changes)})


def cluster(**changes: Any) -> Change:
    """Changes the cluster."""

    def change(plan: StackPlan) -> StackPlan:
        assert plan.cluster is not None
        return replace(plan, cluster=replace(plan.cluster, **changes))

    return change


def env(**variables: str) -> Change:
    """Adds variables to the service's environment."""
    return deployment(env=lambda found: {**found, **variables})


def foundation(**changes: Any) -> Change:
    """Changes what deployments share."""
    return lambda plan: replace(plan, foundation=replace(plan.foundation, **changes))


def within(part: str, **changes: Any) -> Change:
    """Changes one part of what deployments share, for instance the bucket."""
    return lambda plan: foundation(**{part: replace(getattr(plan.foundation, part), **changes)})(plan)


def without_api(name: str) -> Change:
    """Leaves out an API."""

    def change(plan: StackPlan) -> StackPlan:
        apis = tuple(api for api in plan.foundation.apis if api != f"{name}.googleapis.com")
        assert apis != plan.foundation.apis
        return foundation(apis=apis)(plan)

    return change


def image(**changes: Any) -> Change:
    """Changes the serving image."""
    return lambda plan: replace(
        plan, images={**plan.images, "serve": replace(plan.images["serve"], **changes)}
    )


# Proofs over registered resources ----------------------------------------------------------------------


def values(resources: Sequence[Registered], types: Sequence[str], path: str) -> Iterator[Any]:
    """Every value at a property path (`[*]` is a wildcard) of resources of some types."""
    for resource in resources:
        if resource.type in types:
            yield from _at(resource.inputs, parse_path(path))


def _at(value: Any, path: Any) -> Iterator[Any]:
    if not path:
        yield value
        return
    for step, member in children(value):
        if same_step(path[0], step):
            yield from _at(member, path[1:])


def never_made(*types: str) -> Proof:
    """No resource of a type."""

    def proof(resources: Sequence[Registered]) -> None:
        assert not [each.name for each in resources if each.type in types]

    return proof


def never_given(types: Sequence[str], path: str) -> Proof:
    """Resources of these types never have that input."""

    def proof(resources: Sequence[Registered]) -> None:
        assert not list(values(resources, types, path))

    return proof


def always_given(types: Sequence[str], path: str) -> Proof:
    """Each resource of these types has that input."""

    def proof(resources: Sequence[Registered]) -> None:
        for each in resources:
            assert each.type not in types or list(values([each], types, path))

    return proof


def only(types: Sequence[str], path: str, *allowed: Any) -> Proof:
    """Resources of these types have only these values there, and have one at all."""

    def proof(resources: Sequence[Registered]) -> None:
        found = list(values(resources, types, path))
        assert all(value in allowed for value in found)
        assert found or not [each for each in resources if each.type in types]

    return proof


def after(types: Sequence[str], *sources: str) -> Proof:
    """Each resource of these types is made after one of each source: a value of it, or an option, says so."""

    def proof(resources: Sequence[Registered]) -> None:
        for each in resources:
            for source in sources if each.type in types else ():
                assert any(source in urn for urn in each.dependencies), (each.name, source)

    return proof
