"""What the next `up` would create, from the engine's own preview."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pulumi import automation
from pulumi.automation.events import EngineEvent, OpType, StepEventMetadata

from llmstack.recovery.errors import RecoveryError
from llmstack.recovery.ids import UNKNOWN
from llmstack.recovery.state import mark_secret

_PROVIDER = "pulumi:providers:"
_SHOWN_SECRET = "[secret]"  # noqa: S105 - what the engine prints in place of one
_STACK_TYPE = "pulumi:pulumi:Stack"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A resource that the program asks for."""

    urn: str
    type: str
    name: str
    parent: str
    provider: str
    """URN of its provider."""
    inputs: Mapping[str, Any]
    component: bool


@dataclass(frozen=True, slots=True)
class Foresight:
    """What a preview found.

    Attributes:
        create: Resources that are not in the state, by URN.
        providers: Inputs of the providers in use, by URN, as a state has them before it is encrypted.
    """

    create: dict[str, Wanted] = field(default_factory=dict)
    providers: dict[str, dict[str, Any]] = field(default_factory=dict)

    def can_ask(self, wanted: Wanted) -> bool:
        """Whether a resource's provider is known: not that of a cluster which the state does not have."""
        return UNKNOWN not in self.providers.get(wanted.provider, {}).values()


def foresee(stack: automation.Stack) -> Foresight:
    """Preview a stack.

    Raises:
        RecoveryError: The program fails, or the engine; the message is what it says.
    """
    steps: list[StepEventMetadata] = []
    said: list[str] = []

    def on_event(event: EngineEvent) -> None:
        if event.resource_pre_event is not None:
            steps.append(event.resource_pre_event.metadata)
        diagnostic = event.diagnostic_event
        if diagnostic is not None and diagnostic.severity == "error":
            said.append(diagnostic.message.strip())

    try:
        stack.preview(on_event=on_event)
    except automation.CommandError as error:
        raise RecoveryError("\n".join(said) or str(error)) from None
    foresight = Foresight()
    for step in steps:
        if step.new is None:
            continue
        if step.type.startswith(_PROVIDER):
            foresight.providers[step.urn] = dict(step.new.inputs or {})
        elif step.op == OpType.CREATE and step.type != _STACK_TYPE:
            foresight.create[step.urn] = _wanted(step)
    _reveal(stack, foresight.providers)
    _complete(foresight)
    return foresight


def _wanted(step: StepEventMetadata) -> Wanted:
    new = step.new
    assert new is not None
    return Wanted(
        urn=step.urn,
        type=new.type,
        name=step.urn.rpartition("::")[2],
        parent="" if f"::{_STACK_TYPE}::" in new.parent else new.parent,
        provider=step.provider.rpartition("::")[0],
        inputs=dict(new.inputs or {}),
        component=not new.custom,
    )


def _reveal(stack: automation.Stack, providers: dict[str, dict[str, Any]]) -> None:
    """Put the configuration's own values in place of the secrets that events do not show."""
    hidden = [
        (urn, key) for urn, given in providers.items() for key, v in given.items() if v == _SHOWN_SECRET
    ]
    config = stack.get_all_config() if hidden else {}
    for urn, key in hidden:
        package = urn.split("::")[2].removeprefix(_PROVIDER)
        value = config.get(f"{package}:{key}")
        if value is None:
            raise RecoveryError(f"{urn}: its secret {package}:{key} is not in the stack's configuration")
        providers[urn][key] = mark_secret(value.value)


def _complete(foresight: Foresight) -> None:
    """Give resources the project and place that they take from their provider."""
    for urn, wanted in foresight.create.items():
        given = foresight.providers.get(wanted.provider, {})
        places = {"project": given.get("project"), "location": given.get("region")}
        defaults = {key: value for key, value in places.items() if value and value != UNKNOWN}
        foresight.create[urn] = Wanted(
            wanted.urn,
            wanted.type,
            wanted.name,
            wanted.parent,
            wanted.provider,
            {**defaults, **wanted.inputs},
            wanted.component,
        )
