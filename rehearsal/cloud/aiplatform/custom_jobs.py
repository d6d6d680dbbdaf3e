"""Custom jobs of Vertex AI.

What a request may hold is checked by Google's discovery document first, then by the rows of
`rehearsal/data/refusals` that are about `REQUEST`. A custom job's number, and the project's number in its
name, are given as Google gives them.
"""

from __future__ import annotations

from typing import Any

from rehearsal.cloud.aiplatform.checks import check, existing, require_account, require_fields
from rehearsal.cloud.aiplatform.listing import listed
from rehearsal.cloud.aiplatform.names import SCHEMA, full, number, public
from rehearsal.cloud.aiplatform.operation_methods import done_at_once
from rehearsal.cloud.calls import Call, Handler
from rehearsal.cloud.custom_jobs import KIND, is_running
from rehearsal.cloud.discovery import Api
from rehearsal.cloud.errors import ApiError
from rehearsal.world import Record

REQUEST = "aiplatform.v1:CustomJob"
"""Under which `rehearsal/data/refusals` has what is refused of a request to create a custom job."""
_FILTERED = ("displayName", "state", "createTime", "labels")


def handlers(api: Api) -> dict[str, Handler]:
    """Handlers by method id."""

    def show(call: Call, record: Record) -> dict[str, Any]:
        return api.trim(f"{SCHEMA}CustomJob", {**record.body, "name": public(call.world, record.name)})

    def create(call: Call) -> dict[str, Any]:
        parent = full(call.world, call.params["parent"])
        call.require("aiplatform.customJobs.create", parent)
        body = require_fields(api, call)
        check(call.world, parent, REQUEST, body)
        require_account(call, body["jobSpec"].get("serviceAccount"))
        now = call.world.now()
        name = f"{parent}/customJobs/{number()}"
        times = {"createTime": now, "updateTime": now}
        record = call.world.insert(KIND, name, {**body, **times, "state": "JOB_STATE_PENDING"})
        call.cloud.soon(lambda: call.cloud.supervisor.custom_jobs.begin(name))
        return show(call, record)

    def get(call: Call) -> dict[str, Any]:
        return show(call, existing(call, "aiplatform.customJobs.get", call.params["name"], KIND))

    def listing(call: Call) -> dict[str, Any]:
        found, following = listed(
            call, "aiplatform.customJobs.list", KIND, lambda record: show(call, record), _FILTERED
        )
        return {"customJobs": found, "nextPageToken": following}

    def cancel(call: Call) -> dict[str, Any]:
        record = existing(call, "aiplatform.customJobs.cancel", call.params["name"], KIND)
        if not is_running(record.body):
            raise ApiError("FAILED_PRECONDITION", f"The custom job {record.name} has ended already.")
        call.world.edit(record.name, lambda body: {**body, "state": "JOB_STATE_CANCELLING"})
        call.cloud.wait(call.cloud.supervisor.custom_jobs.cancel(record.name))
        return {}

    def delete(call: Call) -> dict[str, Any]:
        record = existing(call, "aiplatform.customJobs.delete", call.params["name"], KIND)
        if is_running(record.body):
            raise ApiError(
                "FAILED_PRECONDITION", f"The custom job {record.name} still runs: cancel it first."
            )
        call.world.delete(record.name)
        call.cloud.workloads.forget(record.name)
        return done_at_once(call, record.name)

    prefix = "aiplatform.projects.locations.customJobs"
    return {
        f"{prefix}.create": create,
        f"{prefix}.get": get,
        f"{prefix}.list": listing,
        f"{prefix}.cancel": cancel,
        f"{prefix}.delete": delete,
    }
