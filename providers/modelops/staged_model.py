"""`modelops:index:StagedModel`: a model's files in a bucket, staged by a job where they are missing.

The resource is the files, not a run of the job: where a valid manifest lies at the target there is nothing to
do, however it came there, and which platform's job would stage it is no part of them. Its id is the full name
of the job that it was made with, so that an import reads from the job what it stages.
"""

from __future__ import annotations

from typing import Final

from providers.base.diff import Change, Kind, diff_properties
from providers.base.errors import InitializationFailed, ProviderError
from providers.base.provider import (
    CheckRequest,
    CheckResponse,
    CreateRequest,
    CreateResponse,
    DeleteRequest,
    DiffRequest,
    DiffResponse,
    Provider,
    ReadRequest,
    ReadResponse,
    UpdateRequest,
)
from providers.base.values import UNKNOWN, Properties
from providers.modelops.client import Google, NotFound
from providers.modelops.jobs import CloudRunJobs
from providers.modelops.manifest import Missing, Staged
from providers.modelops.registry import Runners, kind_of
from providers.modelops.resource import Resource
from providers.modelops.runners import LABEL, Execution
from providers.modelops.staged_inputs import (
    StagedInputs,
    concerns_the_files,
    failures,
    foretold,
    with_default,
)
from providers.modelops.storage import Storage
from providers.modelops.waiting import Wait, wait_for

DEFAULT_TIMEOUT_SECONDS: Final = 2 * 60 * 60
"""How long a create or update waits where the resource has no custom timeout."""
STOP_TIMEOUT_SECONDS: Final = 60
"""How long a delete waits for an execution to stop before it removes what was written."""
_DAMAGED: Final[Properties] = {"files": 0, "totalBytes": 0, "manifestSha256": "", "toolVersion": ""}


class StagedModel(Resource):
    """Stages, verifies and removes a model's files."""

    def __init__(self, provider: Provider, google: Google) -> None:
        super().__init__(provider, google)
        self._runners = Runners(google)
        self._storage = Storage(google)
        self._wanted: dict[str, object] = {}
        """Target by URN, of every resource that the program of this operation has."""

    async def check(self, request: CheckRequest) -> CheckResponse:
        self._wanted[request.urn] = request.news.get("target")
        return CheckResponse(with_default(request.news), failures(request.news))

    async def diff(self, request: DiffRequest) -> DiffResponse:
        changes = diff_properties(request.old_inputs, request.news)
        # Another platform stages the same files, so what it staged stays; the id may name the old job.
        moved = _platform(request.old_inputs) is not _platform(request.news)
        response = DiffResponse.of(changes, replace_on=[] if moved else ["job"])
        found = request.old_outputs.get("manifestSha256")
        if found:
            return response
        # A refresh found the files damaged: an update stages them again.
        damage = Change(("manifestSha256",), Kind.UPDATE, found, None)
        return DiffResponse(changes, response.replaces, output_changes=[damage])

    async def create(self, request: CreateRequest) -> CreateResponse:
        if request.preview:
            return CreateResponse("", foretold(request.inputs))
        inputs = StagedInputs.of(request.inputs)
        return CreateResponse(inputs.job, await self._ensure(inputs, request.urn, request.timeout))

    async def update(self, request: UpdateRequest) -> Properties:
        changes = diff_properties(request.old_inputs, request.news)
        intact = bool(request.old_outputs.get("manifestSha256"))
        if intact and not any(concerns_the_files(change.path) for change in changes):
            found = {key: request.old_outputs.get(key) for key in _DAMAGED}
            return {**request.news, **found}
        if request.preview:
            return foretold(request.news)
        return await self._ensure(StagedInputs.of(request.news), request.urn, request.timeout)

    async def read(self, request: ReadRequest) -> ReadResponse | None:
        inputs = await self._inputs_of(request)
        if inputs is None:
            return None
        try:
            found = await self.provider.blocking(self._storage.inspect, inputs.place, inputs.source)
        except NotFound:
            return None
        if isinstance(found, Staged):
            return ReadResponse(request.id, inputs.properties(), _outputs(inputs, found))
        running = self._runners.of(inputs.job).running
        if found.empty and not await self.provider.blocking(running, inputs.work):
            return None
        self.provider.log.warning(request.urn, f"{inputs.target}: {found.why}; `pulumi up` stages it again")
        return ReadResponse(request.id, inputs.properties(), {**inputs.properties(), **_DAMAGED})

    async def delete(self, request: DeleteRequest) -> None:
        inputs = StagedInputs.of(request.inputs or request.outputs)
        if inputs.retain:
            return
        await self._stop(inputs, request.urn)
        others = self._users(inputs) or await self.provider.blocking(self._others, inputs)
        if others:
            names = ", ".join(name.rpartition("/")[2] for name in others)
            self.provider.log.info(request.urn, f"{inputs.target} is kept: {names} needs it too")
            return
        self.provider.log.status(request.urn, f"deleting {inputs.target}")
        await self.provider.blocking(self._storage.clear, inputs.place)

    async def _inputs_of(self, request: ReadRequest) -> StagedInputs | None:
        """The inputs as the state has them, or for an import as the job's arguments give them."""
        known = request.inputs or request.outputs
        if known:
            return StagedInputs.of(known)
        try:
            job = await self.provider.blocking(self._runners.of(request.id).job, request.id)
        except NotFound:
            return None
        inputs = StagedInputs.from_job(job)
        if inputs is None:
            raise ProviderError(
                f"job {request.id} cannot be imported: its arguments are not `stage --repo … --revision … "
                f"--target … --format … --dtype …`, or its executions have no label {LABEL}"
            )
        return inputs

    async def _ensure(self, inputs: StagedInputs, urn: str, timeout: float | None) -> Properties:
        """Stages the model unless it is there, and gives the outputs."""
        found = await self.provider.blocking(self._storage.inspect, inputs.place, inputs.source)
        if isinstance(found, Missing) and await self._stop_outdated(inputs, urn):
            # It may have ended just before it was stopped.
            found = await self.provider.blocking(self._storage.inspect, inputs.place, inputs.source)
        if isinstance(found, Missing):
            execution = await self.provider.blocking(self._runners.of(inputs.job).begin, inputs.work)
            found = await self._finish(inputs, execution, urn, timeout or DEFAULT_TIMEOUT_SECONDS)
        return _outputs(inputs, found)

    async def _finish(self, inputs: StagedInputs, execution: Execution, urn: str, timeout: float) -> Staged:
        """Waits and verifies.

        From here on a failure leaves something behind, so the engine keeps the resource: the next `up` goes
        on with it, and `destroy` removes what was written.
        """
        what = f"staging {inputs.repository} ({inputs.dtype})"
        try:
            await wait_for(self.provider, self._wait(inputs, urn, what, timeout), execution)
            found = await self.provider.blocking(self._storage.inspect, inputs.place, inputs.source)
        except ProviderError as error:
            raise self._unfinished(inputs, str(error)) from error
        if isinstance(found, Missing):
            done = f"{what}: execution {execution.short_name} succeeded"
            raise self._unfinished(
                inputs, f"{done}, but at {inputs.target} {found.why}; run `pulumi up` again"
            )
        return found

    def _unfinished(self, inputs: StagedInputs, reason: str) -> InitializationFailed:
        return InitializationFailed(inputs.job, {**inputs.properties(), **_DAMAGED}, [reason])

    async def _stop(self, inputs: StagedInputs, urn: str) -> None:
        """Stops an execution that would write what is about to be deleted."""
        running = await self.provider.blocking(self._runners.of(inputs.job).running, inputs.work)
        if running is not None:
            await self._end(inputs, urn, running, "is not deleted")

    async def _stop_outdated(self, inputs: StagedInputs, urn: str) -> bool:
        """Stops an execution that was begun by another definition, and says whether there was one.

        Two that write the same objects at once would undo each other's work.
        """
        outdated = await self.provider.blocking(self._runners.of(inputs.job).outdated, inputs.work)
        if outdated is None:
            return False
        name = outdated.short_name
        self.provider.log.status(urn, f"stopping {name}, which another definition began")
        await self._end(inputs, urn, outdated, "is not staged")
        return True

    async def _end(self, inputs: StagedInputs, urn: str, running: Execution, otherwise: str) -> None:
        """Stops an execution and waits until it has stopped."""
        runner = self._runners.of(inputs.job)
        await self.provider.blocking(runner.cancel, running.name)
        try:
            wait = self._wait(inputs, urn, "stopping the staging", STOP_TIMEOUT_SECONDS)
            await wait_for(self.provider, wait, running)
        except ProviderError as stopped:
            # Ending without success is what was asked for; not ending is not.
            last = await self.provider.blocking(runner.execution, running.name)
            if not last.done:
                raise ProviderError(f"{inputs.target} {otherwise}: {stopped}") from stopped

    def _wait(self, inputs: StagedInputs, urn: str, what: str, timeout: float) -> Wait:
        bucket = f"bucket {inputs.place.bucket}"
        return Wait(self._runners.of(inputs.job), inputs.work, bucket, urn, what, timeout)

    def _users(self, inputs: StagedInputs) -> list[str]:
        """What the program of this operation has at the same target, the resource's replacement included.

        A deployment that got another name is made anew before the old one is deleted, and finds the files.
        """
        return [urn.rpartition("::")[2] for urn, target in self._wanted.items() if target == inputs.target]

    def _others(self, inputs: StagedInputs) -> list[str]:
        try:
            return [f"job {name}" for name in self._runners.of(inputs.job).stages_elsewhere(inputs.work)]
        except NotFound:
            return []


def _platform(inputs: Properties) -> type | None:
    job = inputs.get("job")
    # Only Cloud Run's jobs are resources, whose names a preview may not know yet.
    return CloudRunJobs if job is UNKNOWN else kind_of(str(job))


def _outputs(inputs: StagedInputs, staged: Staged) -> Properties:
    return {
        **inputs.properties(),
        "files": staged.files,
        "totalBytes": staged.total_bytes,
        "manifestSha256": staged.manifest_sha256,
        "toolVersion": staged.tool_version,
    }
