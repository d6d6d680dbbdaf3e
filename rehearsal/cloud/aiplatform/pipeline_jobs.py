"""Pipeline jobs of Vertex AI: create, watch, cancel, delete."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from rehearsal.cloud.aiplatform.checks import check, existing, require_account, require_fields
from rehearsal.cloud.aiplatform.listing import listed
from rehearsal.cloud.aiplatform.names import SCHEMA, full, number, public
from rehearsal.cloud.aiplatform.operation_methods import begin
from rehearsal.cloud.aiplatform.operations import EMPTY, Work
from rehearsal.cloud.aiplatform.pipeline_runs import KIND, is_running
from rehearsal.cloud.aiplatform.pipeline_spec import parameter_values
from rehearsal.cloud.calls import Call, Handler
from rehearsal.cloud.discovery import Api
from rehearsal.cloud.errors import ApiError
from rehearsal.world import Record, World

REQUEST = "aiplatform.v1:PipelineJob"
"""Under which `rehearsal/data/refusals` has what is refused of a request to run a pipeline."""
_PREFIX = "aiplatform.projects.locations.pipelineJobs"
# Discovery document, pipelineJobs.create, pipelineJobId: fewer than 128 characters.
_ID = re.compile(r"[a-z][-a-z0-9]{0,126}")
_BILLING_LABEL = "vertex-ai-pipelines-run-billing-id"
"""Discovery document, PipelineJob.labels: Google sets it, whatever a request says."""
_FILTERED = ("pipelineName", "displayName", "state", "createTime", "updateTime", "endTime", "labels")
_NOT_LISTED = frozenset({"jobDetail", "pipelineSpec"})


def handlers(api: Api) -> dict[str, Handler]:
    """Handlers by method id."""

    def show(call: Call, record: Record) -> dict[str, Any]:
        return api.trim(f"{SCHEMA}PipelineJob", {**record.body, "name": public(call.world, record.name)})

    def create(call: Call) -> dict[str, Any]:
        parent = full(call.world, call.params["parent"])
        call.require("aiplatform.pipelineJobs.create", parent)
        body = require_fields(api, call)
        check(call.world, parent, REQUEST, body)
        wanted = call.params.get("pipelineJobId")
        if wanted and not _ID.fullmatch(wanted):
            raise ApiError("INVALID_ARGUMENT", f"pipelineJobId {wanted!r} does not match {_ID.pattern}")
        values = parameter_values(body)
        require_account(call, body.get("serviceAccount"))
        now = call.world.now()
        runtime = {**(body.get("runtimeConfig") or {}), "parameterValues": values}
        labels = {**(body.get("labels") or {}), _BILLING_LABEL: number()}
        made = {**body, "labels": labels, "runtimeConfig": runtime, "createTime": now, "updateTime": now}
        name = f"{parent}/pipelineJobs/{wanted or number()}"
        record = call.world.insert(KIND, name, {**made, "state": "PIPELINE_STATE_PENDING"})
        call.cloud.soon(lambda: call.cloud.supervisor.pipelines.begin(name))
        return show(call, record)

    def get(call: Call) -> dict[str, Any]:
        return show(call, existing(call, "aiplatform.pipelineJobs.get", call.params["name"], KIND))

    def listing(call: Call) -> dict[str, Any]:
        def row(record: Record) -> dict[str, Any]:
            name = ((record.body.get("pipelineSpec") or {}).get("pipelineInfo") or {}).get("name", "")
            shown = {key: value for key, value in show(call, record).items() if key not in _NOT_LISTED}
            return {**shown, "pipelineName": name}

        found, following = listed(call, "aiplatform.pipelineJobs.list", KIND, row, _FILTERED)
        for each in found:
            each.pop("pipelineName", None)
        return {"pipelineJobs": found, "nextPageToken": following}

    def cancel(call: Call) -> dict[str, Any]:
        record = existing(call, "aiplatform.pipelineJobs.cancel", call.params["name"], KIND)
        if not is_running(record.body):
            message = f"The pipeline job {call.params['name']} has ended already."
            raise ApiError("FAILED_PRECONDITION", message)
        call.world.edit(record.name, lambda body: {**body, "state": "PIPELINE_STATE_CANCELLING"})
        call.cloud.wait(call.cloud.supervisor.pipelines.cancel(record.name))
        return {}

    def delete(call: Call) -> dict[str, Any]:
        record = existing(call, "aiplatform.pipelineJobs.delete", call.params["name"], KIND)
        if is_running(record.body):
            raise ApiError(
                "FAILED_PRECONDITION", f"The pipeline job {call.params['name']} still runs: cancel it first."
            )
        return begin(call, record.name, {})

    return {
        f"{_PREFIX}.create": create,
        f"{_PREFIX}.get": get,
        f"{_PREFIX}.list": listing,
        f"{_PREFIX}.cancel": cancel,
        f"{_PREFIX}.delete": delete,
    }


def works(world: World) -> dict[str, Work]:
    """What the operations of these methods do."""

    async def delete(operation: Record) -> dict[str, Any]:
        await asyncio.to_thread(world.delete, operation.body["target"])
        return {"@type": EMPTY}

    return {f"{_PREFIX}.delete": delete}
