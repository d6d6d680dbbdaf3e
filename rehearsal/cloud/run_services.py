"""Cloud Run v2: services and operations.

Services are created and deleted through the stand-in plugin only; a change by an outside client, which the
engine has to find as drift, comes through `patch`.
"""

from __future__ import annotations

import time
import uuid
from typing import Any

from rehearsal.cloud import run_jobs
from rehearsal.cloud.calls import Call, Handler
from rehearsal.cloud.discovery import Api
from rehearsal.cloud.errors import ApiError
from rehearsal.cloud.execution_state import seconds
from rehearsal.cloud.run_names import TYPES, existing, full, page
from rehearsal.world import Record

KIND = "run.service"
_SCHEMA = "GoogleCloudRunV2Service"
_ROLL_SECONDS = 3600.0
_WAIT_SECONDS = 30.0
_POLL_SECONDS = 0.1
_IMMUTABLE = {"name"}


def handlers(api: Api) -> dict[str, Handler]:
    """Handlers by method id."""

    def show(record: Record) -> dict[str, Any]:
        return api.trim(_SCHEMA, {**record.body, "name": record.name.partition("/")[2]})

    def get(call: Call) -> dict[str, Any]:
        return show(existing(call, "run.services.get", call.params["name"], KIND))

    def list_(call: Call) -> dict[str, Any]:
        parent = full(call.params["parent"])
        call.require("run.services.list", parent)
        found, following = page(call.world.list(KIND, f"{parent}/services/"), call)
        return {"services": [show(record) for record in found], "nextPageToken": following}

    def patch(call: Call) -> dict[str, Any]:
        record = existing(call, "run.services.update", call.params["name"], KIND)
        change = merged(record.body, call.body or {}, call.params.get("updateMask"))
        account = change["template"].get("serviceAccount")
        if account and account != record.body["template"].get("serviceAccount"):
            project = record.name.split("/")[2]
            call.require(
                "iam.serviceAccounts.actAs",
                f"iam.googleapis.com/projects/{project}/serviceAccounts/{account}",
            )
        if call.params.get("validateOnly"):
            return {"name": _operation_name(record), "done": True, "response": _typed(show(record))}
        stamped = _stamped(change, record, call)
        after = call.world.put(record.name, stamped)
        supervisor = call.cloud.supervisor
        call.cloud.soon(lambda: supervisor.spawn(supervisor.reconcile(record.name, _ROLL_SECONDS)))
        name = _operation_name(record)
        call.world.set_setting(f"operation/{name}", record.name)
        return {"name": name, "metadata": _typed(show(after)), "done": False}

    def operation_get(call: Call) -> dict[str, Any]:
        call.require("run.operations.get", full(call.params["name"]))
        return state(call, call.params["name"])

    def state(call: Call, name: str) -> dict[str, Any]:
        location, _, uid = name.partition("/operations/")
        for record in call.world.list(run_jobs.EXECUTION, full(f"{location}/jobs/")):
            if record.body["uid"] == uid:
                return run_jobs.operation(api, record.body)
        service = call.world.get(call.world.setting(f"operation/{name}") or "")
        if service is None:
            raise ApiError("NOT_FOUND", f"Operation '{name}' not found.")
        return rolled(name, service)

    def rolled(name: str, service: Record) -> dict[str, Any]:
        shown = _typed(show(service))
        if service.body.get("reconciling"):
            return {"name": name, "metadata": shown, "done": False}
        final = service.body.get("terminalCondition") or {}
        if final.get("state") == "CONDITION_FAILED":
            error = {"code": 9, "message": final.get("message", "")}
            return {"name": name, "metadata": shown, "done": True, "error": error}
        return {"name": name, "metadata": shown, "done": True, "response": shown}

    def operation_wait(call: Call) -> dict[str, Any]:
        call.require("run.operations.get", full(call.params["name"]))
        deadline = time.monotonic() + seconds((call.body or {}).get("timeout"), _WAIT_SECONDS)
        while not (found := state(call, call.params["name"]))["done"] and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        return found

    def operation_list(call: Call) -> dict[str, Any]:
        parent = full(call.params["name"])
        call.require("run.operations.list", parent)
        records = call.world.list(run_jobs.EXECUTION, f"{parent}/jobs/")
        found, following = page(records, call)
        operations = [run_jobs.operation(api, record.body) for record in found]
        return {"operations": operations, "nextPageToken": following}

    prefix = "run.projects.locations"
    return {
        f"{prefix}.services.get": get,
        f"{prefix}.services.list": list_,
        f"{prefix}.services.patch": patch,
        f"{prefix}.operations.get": operation_get,
        f"{prefix}.operations.wait": operation_wait,
        f"{prefix}.operations.list": operation_list,
    }


def merged(present: dict[str, Any], change: dict[str, Any], mask: str | None) -> dict[str, Any]:
    """A service with a change applied.

    Args:
        present: the service.
        change: the request's body, without read-only fields.
        mask: comma-separated field paths; without one every field of the body is taken.

    Raises:
        ApiError: a path that names no field of the change.
    """
    if not mask or mask == "*":
        return {**present, **{key: value for key, value in change.items() if key not in _IMMUTABLE}}
    result = dict(present)
    for path in mask.split(","):
        result = _replaced(result, change, path.split("."), path)
    return result


def _replaced(present: dict[str, Any], change: Any, keys: list[str], path: str) -> dict[str, Any]:
    key, *rest = keys
    if not isinstance(change, dict) or (rest and key not in change):
        raise ApiError("INVALID_ARGUMENT", f"updateMask: '{path}' is not in the request's body")
    if not rest:
        without = {name: value for name, value in present.items() if name != key}
        return {**without, key: change[key]} if key in change else without
    inner = present.get(key)
    return {**present, key: _replaced(inner if isinstance(inner, dict) else {}, change[key], rest, path)}


def _stamped(change: dict[str, Any], record: Record, call: Call) -> dict[str, Any]:
    generation = int(record.body.get("generation") or record.generation) + 1
    etag = uuid.uuid4().hex
    return {
        **change,
        "generation": str(generation),
        "etag": etag,
        "reconciling": True,
        "lastModifier": (call.member or "").partition(":")[2],
        "updateTime": call.world.now(),
        "latestCreatedRevision": f"{record.name.rpartition('/')[2]}-{generation:05d}-{etag[:3]}",
    }


def _operation_name(record: Record) -> str:
    location = record.name.partition("/")[2].partition("/services/")[0]
    return f"{location}/operations/{uuid.uuid4()}"


def _typed(service: dict[str, Any]) -> dict[str, Any]:
    return {"@type": f"{TYPES}.Service", **service}
