"""Cloud Run v2: jobs, executions and their tasks."""

from __future__ import annotations

import re
from typing import Any

from rehearsal.cloud.calls import Call, Handler
from rehearsal.cloud.discovery import Api
from rehearsal.cloud.errors import ApiError
from rehearsal.cloud.execution_state import is_running, new_execution, reference, tasks
from rehearsal.cloud.run_names import TYPES, existing, full, page
from rehearsal.world import Record

JOB, EXECUTION = "run.job", "run.execution"
_JOB_SCHEMA, _EXECUTION_SCHEMA = "GoogleCloudRunV2Job", "GoogleCloudRunV2Execution"


def handlers(api: Api) -> dict[str, Handler]:
    """Handlers by method id."""

    def show_job(record: Record) -> dict[str, Any]:
        return api.trim(_JOB_SCHEMA, {**record.body, "name": record.name.partition("/")[2]})

    def show(record: Record) -> dict[str, Any]:
        return api.trim(_EXECUTION_SCHEMA, record.body)

    def job_get(call: Call) -> dict[str, Any]:
        return show_job(existing(call, "run.jobs.get", call.params["name"], JOB))

    def job_list(call: Call) -> dict[str, Any]:
        parent = full(call.params["parent"])
        call.require("run.jobs.list", parent)
        found, following = page(call.world.list(JOB, f"{parent}/jobs/"), call)
        return {"jobs": [show_job(record) for record in found], "nextPageToken": following}

    def job_run(call: Call) -> dict[str, Any]:
        job = existing(call, "run.jobs.run", call.params["name"], JOB)
        body = call.body or {}
        overrides = body.get("overrides") or {}
        if overrides:
            call.require("run.jobs.runWithOverrides", job.name)
        if body.get("etag", job.body.get("etag")) != job.body.get("etag"):
            raise ApiError("ABORTED", f"Conflict: the etag of '{call.params['name']}' has changed.")
        creator = (call.member or "").partition(":")[2]
        name, execution = new_execution(job, overrides, call.world.now(), creator)
        if body.get("validateOnly"):
            return operation(api, execution)
        call.world.insert(EXECUTION, name, execution)
        call.world.edit(job.name, lambda present: _counted(present, execution))
        call.cloud.soon(lambda: call.cloud.supervisor.executions.begin(name))
        return operation(api, execution)

    def execution_get(call: Call) -> dict[str, Any]:
        return show(existing(call, "run.executions.get", call.params["name"], EXECUTION))

    def execution_list(call: Call) -> dict[str, Any]:
        parent = call.params["parent"]
        call.require("run.executions.list", full(parent))
        # `jobs/-` stands for all jobs, as the API's description of `parent` says.
        prefix = (
            full(parent).removesuffix("-") if parent.endswith("/jobs/-") else f"{full(parent)}/executions/"
        )
        found, following = page(_newest_first(call.world.list(EXECUTION, prefix)), call)
        return {"executions": [show(record) for record in found], "nextPageToken": following}

    def execution_cancel(call: Call) -> dict[str, Any]:
        record = existing(call, "run.executions.cancel", call.params["name"], EXECUTION)
        if not is_running(record.body):
            message = f"Execution '{record.name.rpartition('/')[2]}' cannot be cancelled: it has completed."
            raise ApiError("FAILED_PRECONDITION", message)
        call.cloud.wait(call.cloud.supervisor.executions.cancel(record.name))
        return operation(api, existing(call, "run.executions.get", call.params["name"], EXECUTION).body)

    def execution_delete(call: Call) -> dict[str, Any]:
        record = existing(call, "run.executions.delete", call.params["name"], EXECUTION)
        call.cloud.wait(call.cloud.supervisor.executions.cancel(record.name))
        call.world.delete(record.name)
        call.cloud.workloads.forget(record.name)
        return {**operation(api, record.body), "done": True}

    def task_list(call: Call) -> dict[str, Any]:
        found = tasks(existing(call, "run.tasks.list", call.params["parent"], EXECUTION).body)
        shown, following = page(found, call)
        return {"tasks": shown, "nextPageToken": following}

    prefix = "run.projects.locations.jobs"
    return {
        f"{prefix}.get": job_get,
        f"{prefix}.list": job_list,
        f"{prefix}.run": job_run,
        f"{prefix}.executions.get": execution_get,
        f"{prefix}.executions.list": execution_list,
        f"{prefix}.executions.cancel": execution_cancel,
        f"{prefix}.executions.delete": execution_delete,
        f"{prefix}.executions.tasks.list": task_list,
    }


def operation(api: Api, execution: dict[str, Any]) -> dict[str, Any]:
    """The long-running operation of an execution; its id is the execution's uid: nothing is stored for it."""
    location = re.match(r"projects/[^/]+/locations/[^/]+", execution["name"])
    shown = {"@type": f"{TYPES}.Execution", **api.trim(_EXECUTION_SCHEMA, execution)}
    found: dict[str, Any] = {
        "name": f"{location[0] if location else ''}/operations/{execution['uid']}",
        "metadata": shown,
        "done": not is_running(execution),
    }
    if is_running(execution):
        return found
    final = execution["conditions"][0]
    if final["state"] == "CONDITION_SUCCEEDED":
        return {**found, "response": shown}
    # google.rpc.Code: 1 CANCELLED, 2 UNKNOWN.
    code = 1 if final.get("executionReason") == "CANCELLED" else 2
    return {**found, "error": {"code": code, "message": final["message"]}}


def _counted(job: dict[str, Any], execution: dict[str, Any]) -> dict[str, Any]:
    count = int(job.get("executionCount") or 0) + 1
    return {**job, "executionCount": count, "latestCreatedExecution": reference(execution)}


def _newest_first(records: list[Record]) -> list[Record]:
    return sorted(records, key=lambda record: record.created, reverse=True)
