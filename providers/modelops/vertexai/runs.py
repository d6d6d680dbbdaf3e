"""What custom jobs and pipeline runs share: they run once, are waited for or not, and cannot be changed.

Another input is another run. A run that was waited for and has not succeeded is replaced by a new one with
the next `up`; the old one is deleted first, so that two never write the same output.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Final, Generic, TypeVar

from providers.base.errors import Cancelled, InitializationFailed, ProviderError
from providers.base.provider import (
    CreateRequest,
    CreateResponse,
    DeleteRequest,
    DiffRequest,
    DiffResponse,
    ReadRequest,
    ReadResponse,
    UpdateRequest,
)
from providers.base.values import Properties
from providers.modelops.client import NotFound
from providers.modelops.polling import Deadline, Watch, until_done
from providers.modelops.vertexai.custom_jobs import ENDED, Body, Run
from providers.modelops.vertexai.inputs import RunInputs
from providers.modelops.vertexai.operations import Operation
from providers.modelops.vertexai.resource import VertexResource, overlaid

DEFAULT_TIMEOUT_SECONDS: Final = 7 * 24 * 60 * 60
"""How long a run is waited for where the resource has no custom timeout: the longest that Vertex AI lets
a job run by default (discovery document aiplatform.v1, Scheduling.timeout)."""
STOP_TIMEOUT_SECONDS: Final = 10 * 60
"""How long a deletion waits for a run to stop."""
CANCELLING: Final = "CANCELLING"
_LOST: Final = (ENDED - {"SUCCEEDED"}) | {CANCELLING}


def is_lost(run: Run) -> bool:
    """Whether a run can no longer succeed."""
    return run.state in _LOST


R = TypeVar("R", bound=RunInputs)


class RunResource(VertexResource[R], Generic[R]):
    """A run of something."""

    computed = ("name", "state", "logsUri")
    kind: ClassVar[str]
    """What messages call one: "custom job"."""
    collection: ClassVar[str]
    """Its collection in the API: "customJobs"."""
    cancelled_on_interrupt: ClassVar[bool]
    """Whether a run that is waited for ends when the engine is interrupted."""

    @abstractmethod
    def begin(self, inputs: R, urn: str) -> Body:
        """A run of the inputs that an interrupted deployment began, else a new one; blocks."""

    @abstractmethod
    def run(self, body: Body) -> Run:
        """How a run stands."""

    @abstractmethod
    def observed(self, name: str, body: Body, known: Properties) -> Properties:
        """The inputs of a run as it is."""

    def orphans(self, id: str, inputs: R, urn: str) -> list[str]:  # noqa: ARG002
        """Full names of other runs that this resource has made and that no state knows of; blocks."""
        return []

    def damaged(self, outputs: Properties) -> list[str]:
        return ["state"] if outputs.get("wait") and outputs.get("state") in _LOST else []

    async def diff(self, request: DiffRequest) -> DiffResponse:
        response = await super().diff(request)
        lost = ["state"] if response.output_changes else []
        # Also where no input of its own differs, as with `pulumi up --replace`.
        return DiffResponse(response.changes, [*response.replaces, *lost], True, response.output_changes)

    async def create(self, request: CreateRequest) -> CreateResponse:
        if request.preview:
            return CreateResponse("", self.foretold(request.inputs))
        inputs = self.inputs(request.inputs)
        body = await self.provider.blocking(self.begin, inputs, request.urn)
        # Google answers with the project's number; the rest of the program has its id.
        id = f"{inputs.parent}/{self.collection}/{body['name'].rpartition('/')[2]}"
        outputs = await self._waited(id, inputs, request.inputs, request.urn, self.run(body), request.timeout)
        return CreateResponse(id, outputs)

    async def update(self, request: UpdateRequest) -> Properties:
        """Only whether it is waited for can change, or the wait goes on that was interrupted."""
        if request.preview:
            return {**request.news, **{name: request.old_outputs.get(name) for name in self.computed}}
        run = self.run(await self.provider.blocking(self._get, request.id))
        inputs = self.inputs(request.news)
        return await self._waited(request.id, inputs, request.news, request.urn, run, request.timeout)

    async def read(self, request: ReadRequest) -> ReadResponse | None:
        try:
            body = await self.provider.blocking(self._get, request.id)
        except NotFound:
            return None
        inputs = overlaid(request.inputs, self.observed(request.id, body, request.inputs))
        return ReadResponse(request.id, inputs, _outputs(request.id, inputs, self.run(body)))

    async def delete(self, request: DeleteRequest) -> None:
        inputs = self.inputs(request.inputs or request.outputs)
        deadline = Deadline(request.timeout or STOP_TIMEOUT_SECONDS)
        others = await self.provider.blocking(self.orphans, request.id, inputs, request.urn)
        for name in [request.id, *others]:
            await self._removed(name, request.urn, deadline)

    async def _removed(self, name: str, urn: str, deadline: Deadline) -> None:
        """Stops and deletes a run, and waits until both are done."""
        what = f"deleting {self.kind} {name}"
        try:
            run = self.run(await self.provider.blocking(self._get, name))
            if not run.done:
                await self.provider.blocking(self._cancel, name)
                watch = Watch(urn, f"stopping {self.kind} {name}", "it", deadline.left)
                await until_done(self.provider, watch, run, lambda: self.run(self._get(name)))
            begun = await self.provider.blocking(self.api.call, what, f"{self.collection}.delete", name=name)
        except NotFound:
            return
        await self.operations.response(self.provider, Operation.of(begun), urn, what, deadline)

    async def _waited(
        self, id: str, inputs: R, given: Properties, urn: str, run: Run, timeout: float | None
    ) -> Properties:
        """The outputs of the run as it ended, where it is waited for; else as it is.

        Raises:
            InitializationFailed: it has not succeeded, or is no longer waited for.
        """
        what = f"{self.kind} {id.rpartition('/')[2]}"
        watch = Watch(urn, what, "it", timeout or DEFAULT_TIMEOUT_SECONDS)
        if not inputs.wait:
            return _outputs(id, given, run)
        self.provider.log.info(urn, f"{what}: log at {run.log_uri}")
        try:
            run = await until_done(self.provider, watch, run, lambda: self.run(self._get(id)))
        except Cancelled as error:
            state, said = await self._interrupted(id, run, what, str(error))
            raise InitializationFailed(id, {**_outputs(id, given, run), "state": state}, [said]) from error
        except ProviderError as error:
            raise InitializationFailed(id, _outputs(id, given, run), [str(error)]) from error
        if not run.succeeded:
            why = run.message.rstrip(".")
            said = (
                f"{what} ended as {run.state}: {why}. Log: {run.log_uri}. The next `pulumi up` runs it anew."
            )
            raise InitializationFailed(id, _outputs(id, given, run), [said])
        return _outputs(id, given, run)

    async def _interrupted(self, id: str, run: Run, what: str, said: str) -> tuple[str, str]:
        """State and message after the engine asked to stop."""
        if not self.cancelled_on_interrupt:
            return run.state, said
        try:
            await self.provider.blocking(self._cancel, id)
        except ProviderError as error:
            return run.state, f"{what}: interrupted, but it could not be cancelled and goes on ({error})"
        return CANCELLING, f"{what}: interrupted and cancelled; the next `pulumi up` runs it anew"

    def _get(self, name: str) -> Body:
        body: Body = self.api.call(f"watching {self.kind} {name}", f"{self.collection}.get", name=name)
        return body

    def _cancel(self, name: str) -> None:
        """Asks a run to stop; one that is gone or has ended already is no error."""
        try:
            self.api.call(f"stopping {self.kind} {name}", f"{self.collection}.cancel", name=name, body={})
        except NotFound:
            return
        except ProviderError:
            if not self.run(self._get(name)).done:
                raise


def _outputs(id: str, given: Properties, run: Run) -> Properties:
    return {**given, "name": id, "state": run.state, "logsUri": run.log_uri}
