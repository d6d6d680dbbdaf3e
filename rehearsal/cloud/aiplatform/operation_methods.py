"""Methods about long-running operations, whatever they are about: get, list, wait, cancel, delete."""

from __future__ import annotations

import time
from typing import Any

from rehearsal.cloud.aiplatform import operations
from rehearsal.cloud.aiplatform.names import full
from rehearsal.cloud.aiplatform.operations import KIND, new_operation, record_name, shown
from rehearsal.cloud.calls import Call, Handler
from rehearsal.cloud.errors import ApiError
from rehearsal.cloud.execution_state import seconds
from rehearsal.cloud.run_names import page
from rehearsal.world import Record

_LONGEST_WAIT_SECONDS = 30.0
_POLL_SECONDS = 0.1
_CANCELLABLE = frozenset({"upload", "deployModel", "mutateDeployedModel", "create", "update"})
"""What can be called off; a delete or undeploy under way goes on, which Google's best effort allows."""


def handlers(prefix: str) -> dict[str, Handler]:
    """Handlers by method id.

    Args:
        prefix: the operations' part of the ids, for instance `aiplatform.projects.locations.operations`.
    """

    def get(call: Call) -> dict[str, Any]:
        return shown(_existing(call, "aiplatform.operations.list").body)

    def wait(call: Call) -> dict[str, Any]:
        limit = seconds(call.params.get("timeout"), _LONGEST_WAIT_SECONDS)
        deadline = time.monotonic() + min(limit, _LONGEST_WAIT_SECONDS)
        while not (found := get(call))["done"] and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        return found

    def listing(call: Call) -> dict[str, Any]:
        parent = full(call.world, call.params["name"])
        call.require("aiplatform.operations.list", parent)
        records = call.world.list(KIND, record_name(call.world, f"{call.params['name']}/"))
        found, following = page([record for record in records if _below(record, parent)], call)
        return {"operations": [shown(record.body) for record in found], "nextPageToken": following}

    def cancel(call: Call) -> dict[str, Any]:
        record = _existing(call, "aiplatform.operations.cancel")
        verb = record.body["method"].rpartition(".")[2]
        if not record.body["done"] and verb in _CANCELLABLE:
            call.cloud.wait(call.cloud.supervisor.operations.cancel(record.name))
        return {}

    def delete(call: Call) -> dict[str, Any]:
        record = _existing(call, "aiplatform.operations.delete")
        if not record.body["done"]:
            raise ApiError("FAILED_PRECONDITION", f"The operation {call.params['name']} is not done.")
        call.world.delete(record.name)
        return {}

    return {
        f"{prefix}.get": get,
        f"{prefix}.wait": wait,
        f"{prefix}.list": listing,
        f"{prefix}.cancel": cancel,
        f"{prefix}.delete": delete,
    }


def begin(call: Call, target: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Begin the operation that a request asks for, and show it.

    Args:
        call: the request.
        target: full name of the resource that it is about.
        arguments: what its work needs, as plain data.
    """
    record = new_operation(call.world, call.method, target, arguments)
    call.cloud.soon(lambda: call.cloud.supervisor.operations.begin(record.name))
    return shown(record.body)


def done_at_once(call: Call, target: str) -> dict[str, Any]:
    """An operation that was done with its request: of a delete that nothing waits for."""
    record = new_operation(call.world, call.method, target, {})
    ended = {"done": True, "response": {"@type": operations.EMPTY}}
    return shown(call.world.edit(record.name, lambda body: {**body, **ended}).body)


def _existing(call: Call, permission: str) -> Record:
    name = call.params["name"]
    call.require(permission, full(call.world, name))
    record = call.world.get(record_name(call.world, name))
    if record is None:
        raise ApiError("NOT_FOUND", f"Operation {name} not found.")
    return record


def _below(record: Record, parent: str) -> bool:
    """A location's list has what is about its resources; a resource's own list only what is about it."""
    target = str(record.body["target"])
    return target == parent or (parent.count("/") == 4 and target.startswith(f"{parent}/"))
