"""What the four resources share: checks, diffs, and keeping secret what came in as a secret."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Generic, TypeVar

from providers.base.diff import Change, Kind
from providers.base.provider import CheckRequest, CheckResponse, DiffRequest, DiffResponse, Provider
from providers.base.values import UNKNOWN, Properties, strip_secrets
from providers.modelops.client import Google
from providers.modelops.resource import Resource
from providers.modelops.validation import failures
from providers.modelops.vertexai.api import VertexApi
from providers.modelops.vertexai.inputs import SHAPES, VertexInputs
from providers.modelops.vertexai.operations import Operations

I = TypeVar("I", bound=VertexInputs)  # noqa: E741 - the usual name of a type of inputs


class VertexResource(Resource, Generic[I]):
    """A resource of Vertex AI.

    Args:
        provider: gives the log, threads for blocking work, and cancellation.
        google: gives the clients of Google's APIs.
    """

    inputs_type: ClassVar[type[VertexInputs]]
    title: ClassVar[str]
    """What messages call it: "Model"."""
    replace_on: ClassVar[tuple[str, ...]]
    """Inputs whose change needs another resource."""
    computed: ClassVar[tuple[str, ...]]
    """Outputs beside the inputs."""

    def __init__(self, provider: Provider, google: Google) -> None:
        super().__init__(provider, google)
        self.api = VertexApi(google)
        self.operations = Operations(self.api)
        self._made: dict[str, str] = {}
        """What this run of the engine has made or found again, by URN: when it then deletes the resource that
        was replaced, the same thing must stay."""

    async def check(self, request: CheckRequest) -> CheckResponse:
        given = {name: value for name, value in request.news.items() if value is not None}
        news = self.normal({**self.inputs_type.defaults(), **given})
        return CheckResponse(news, failures(self.inputs_type, self.title, news, SHAPES))

    async def diff(self, request: DiffRequest) -> DiffResponse:
        response = DiffResponse.of(request.changed_inputs(), self.replace_on)
        damage = [
            Change((name,), Kind.UPDATE, request.old_outputs.get(name), None)
            for name in self.damaged(request.old_outputs)
        ]
        return DiffResponse(response.changes, response.replaces, output_changes=damage)

    def normal(self, news: Properties) -> Properties:
        """Inputs in the one form that they are kept in; values may be unknown."""
        return news

    @abstractmethod
    def damaged(self, outputs: Properties) -> list[str]:
        """The outputs that say that an update has something to repair, as a refresh found it."""

    def inputs(self, properties: Properties) -> I:
        """The known inputs among a resource's properties."""
        return self.inputs_type.of(properties)  # type: ignore[return-value]

    def foretold(self, inputs: Properties) -> Properties:
        """The outputs that a preview can give."""
        return {**inputs, **dict.fromkeys(self.computed, UNKNOWN)}


def overlaid(known: Properties, observed: Properties) -> Properties:
    """What was observed, in the form known before wherever it is still the same: a secret stays one."""
    return {
        name: known[name] if name in known and strip_secrets(known[name]) == value else value
        for name, value in observed.items()
    }
