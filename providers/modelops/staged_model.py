"""`modelops:index:StagedModel`: a model's files in a bucket, staged by a Cloud Run job where missing.

The resource is the files, not a run of the job: where a valid manifest lies at the target there is nothing to
do, however it came there. Its id is the job's full name, so that an import reads from the job what it stages.
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
from providers.base.values import Properties
from providers.modelops.client import Google, NotFound
from providers.modelops.jobs import LABEL, Execution, Jobs
from providers.modelops.manifest import Missing, Staged
from providers.modelops.resource import Resource
from providers.modelops.staged_inputs import StagedInputs, failures, foretold, with_default
from providers.modelops.storage import Storage
from providers.modelops.waiting import wait_for

DEFAULT_TIMEOUT_SECONDS: Final = 2 * 60 * 60
"""How long a create or update waits where the resource has no custom timeout."""
STOP_TIMEOUT_SECONDS: Final = 60
"""How long a delete waits for an execution to stop before it removes what was written."""
_DAMAGED: Final[Properties] = {"files": 0, "totalBytes": 0, "manifestSha256": "", "toolVersion": ""}


class StagedModel(Resource):
    """Stages, verifies and removes a model's files."""

    def __init__(self, provider: Provider, google: Google) -> None:
        super().__init__(provider, google)
        self._jobs = Jobs(google)
        self._storage = Storage(google)

    async def check(self, request: CheckRequest) -> CheckResponse:
        return CheckResponse(with_default(request.news), failures(request.news))

    async def diff(self, request: DiffRequest) -> DiffResponse:
        changes = diff_properties(request.old_inputs, request.news)
        response = DiffResponse.of(changes, replace_on=["job"])
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
        if intact and all(change.path == ("retain",) for change in changes):
            return {**request.old_outputs, "retain": request.news.get("retain")}
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
        if found.empty and not await self.provider.blocking(
            self._jobs.running, inputs.job, inputs.target_label
        ):
            return None
        self.provider.log.warning(request.urn, f"{inputs.target}: {found.why}; `pulumi up` stages it again")
        return ReadResponse(request.id, inputs.properties(), {**inputs.properties(), **_DAMAGED})

    async def delete(self, request: DeleteRequest) -> None:
        inputs = StagedInputs.of(request.inputs or request.outputs)
        if inputs.retain:
            return
        await self._stop(inputs, request.urn)
        others = await self.provider.blocking(self._others, inputs)
        if others:
            names = ", ".join(name.rpartition("/")[2] for name in others)
            self.provider.log.info(request.urn, f"{inputs.target} is kept: job {names} stages it too")
            return
        self.provider.log.status(request.urn, f"deleting {inputs.target}")
        await self.provider.blocking(self._storage.clear, inputs.place)

    async def _inputs_of(self, request: ReadRequest) -> StagedInputs | None:
        """The inputs as the state has them, or for an import as the job's arguments give them."""
        known = request.inputs or request.outputs
        if known:
            return StagedInputs.of(known)
        try:
            job = await self.provider.blocking(self._jobs.get, request.id)
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
        if isinstance(found, Missing):
            execution = await self.provider.blocking(self._begin, inputs)
            found = await self._finish(inputs, execution, urn, timeout or DEFAULT_TIMEOUT_SECONDS)
        return _outputs(inputs, found)

    def _begin(self, inputs: StagedInputs) -> Execution:
        """An execution that stages the target: one that runs already, else a new one."""
        job = self._jobs.get(inputs.job)
        running = self._jobs.running(inputs.job, inputs.target_label)
        if running is not None:
            return running
        if job.label != inputs.target_label:
            has = job.label or "nothing"
            raise ProviderError(
                f"job {inputs.job} stages something else: its executions have {LABEL}={has}, and "
                f"{inputs.target} needs {LABEL}={inputs.target_label}; the job must be updated first"
            )
        return self._jobs.start(inputs.job, inputs.target_label)

    async def _finish(self, inputs: StagedInputs, execution: Execution, urn: str, timeout: float) -> Staged:
        """Waits and verifies.

        From here on a failure leaves something behind, so the engine keeps the resource: the next `up` goes
        on with it, and `destroy` removes what was written.
        """
        what = f"staging {inputs.repository} ({inputs.dtype})"
        try:
            await wait_for(self.provider, self._jobs, execution, urn, what, timeout)
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
        running = await self.provider.blocking(self._jobs.running, inputs.job, inputs.target_label)
        if running is None:
            return
        await self.provider.blocking(self._jobs.cancel, running.name)
        try:
            await wait_for(
                self.provider, self._jobs, running, urn, "stopping the staging", STOP_TIMEOUT_SECONDS
            )
        except ProviderError as stopped:
            # Ending without success is what was asked for; not ending is not.
            last = await self.provider.blocking(self._jobs.execution, running.name)
            if not last.done:
                raise ProviderError(f"{inputs.target} is not deleted: {stopped}") from stopped

    def _others(self, inputs: StagedInputs) -> list[str]:
        try:
            return self._jobs.stages_elsewhere(inputs.job, inputs.target_label)
        except NotFound:
            return []


def _outputs(inputs: StagedInputs, staged: Staged) -> Properties:
    return {
        **inputs.properties(),
        "files": staged.files,
        "totalBytes": staged.total_bytes,
        "manifestSha256": staged.manifest_sha256,
        "toolVersion": staged.tool_version,
    }
