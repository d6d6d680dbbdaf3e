"""Endpoints of Vertex AI: create, update, traffic, delete."""

from __future__ import annotations

import asyncio
from typing import Any

from rehearsal.cloud.aiplatform import deployed, endpoint_state
from rehearsal.cloud.aiplatform.checks import check, existing, masked, require_fields
from rehearsal.cloud.aiplatform.deployed import ENDPOINT as KIND
from rehearsal.cloud.aiplatform.listing import listed
from rehearsal.cloud.aiplatform.names import SCHEMA, TYPES, full, number, public
from rehearsal.cloud.aiplatform.operation_methods import begin
from rehearsal.cloud.aiplatform.operations import EMPTY, Work
from rehearsal.cloud.calls import Call, Handler
from rehearsal.cloud.discovery import Api
from rehearsal.cloud.errors import ApiError
from rehearsal.world import AlreadyExists, Record, World

REQUEST = "aiplatform.v1:Endpoint"
"""Under which `rehearsal/data/refusals` has what is refused of a request to create an endpoint."""
_PREFIX = "aiplatform.projects.locations.endpoints"
_FILTERED = ("endpoint", "displayName", "labels", "baseModelName")
_PATCHED = frozenset(
    {"displayName", "description", "labels", "trafficSplit", "predictRequestResponseLoggingConfig"}
)
"""What `patch` changes; the rest is fixed, or changed by `update`:
https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.endpoints/patch"""
_UPDATED = frozenset({"clientConnectionConfig"})


def handlers(api: Api) -> dict[str, Handler]:
    """Handlers by method id."""

    def show(call: Call, record: Record) -> dict[str, Any]:
        return api.trim(f"{SCHEMA}Endpoint", endpoint_state.shown(call.world, record))

    def create(call: Call) -> dict[str, Any]:
        parent = full(call.world, call.params["parent"])
        call.require("aiplatform.endpoints.create", parent)
        body = {key: value for key, value in require_fields(api, call).items() if key != "name"}
        check(call.world, parent, REQUEST, body)
        deployed.check_split(body.get("trafficSplit") or {}, set())
        wanted = call.params.get("endpointId")
        if wanted and not endpoint_state.ID.fullmatch(wanted):
            raise ApiError("INVALID_ARGUMENT", f"endpointId {wanted!r} is not a valid id")
        target = f"{parent}/endpoints/{wanted or number()}"
        if call.world.get(target) is not None:
            raise ApiError("ALREADY_EXISTS", f"The Endpoint {public(call.world, target)} already exists.")
        return begin(call, target, {"endpoint": body})

    def get(call: Call) -> dict[str, Any]:
        return show(call, existing(call, "aiplatform.endpoints.get", call.params["name"], KIND))

    def listing(call: Call) -> dict[str, Any]:
        found, following = listed(
            call, "aiplatform.endpoints.list", KIND, lambda record: show(call, record), _FILTERED
        )
        return {"endpoints": found, "nextPageToken": following}

    def patch(call: Call) -> dict[str, Any]:
        record = existing(call, "aiplatform.endpoints.update", call.params["name"], KIND)
        body = call.body or {}
        mask = [path.partition(".")[0] for path in masked(call.params.get("updateMask"))]
        change = _change(mask, body, _PATCHED)
        check(call.world, record.name, REQUEST, {**record.body, **body})
        if "trafficSplit" in change:
            change["trafficSplit"] = _checked_split(call.world, record.name, change["trafficSplit"] or {})
        return show(call, call.world.edit(record.name, lambda present: _edited(call, present, body, change)))

    def update(call: Call) -> dict[str, Any]:
        record = existing(call, "aiplatform.endpoints.update", call.params["name"], KIND)
        given = require_fields(api, call)["endpoint"]
        fields = [key for key in given if key not in ("name", "displayName", "etag")]
        change = _change(fields, given, _UPDATED)
        return begin(call, record.name, {"change": change})

    def delete(call: Call) -> dict[str, Any]:
        record = existing(call, "aiplatform.endpoints.delete", call.params["name"], KIND)
        _require_empty(call.world, record.name)
        return begin(call, record.name, {})

    return {
        f"{_PREFIX}.create": create,
        f"{_PREFIX}.get": get,
        f"{_PREFIX}.list": listing,
        f"{_PREFIX}.patch": patch,
        f"{_PREFIX}.update": update,
        f"{_PREFIX}.delete": delete,
    }


def works(api: Api, world: World) -> dict[str, Work]:
    """What the operations of these methods do."""

    def answer(record: Record) -> dict[str, Any]:
        shown = api.trim(f"{SCHEMA}Endpoint", endpoint_state.shown(world, record))
        return {"@type": f"{TYPES}.Endpoint", **shown}

    async def create(operation: Record) -> dict[str, Any]:
        target, given = operation.body["target"], operation.body["arguments"]["endpoint"]
        body = {**endpoint_state.new_body(world, target, given), "operation": operation.name}

        def made() -> dict[str, Any]:
            try:
                return answer(world.insert(KIND, target, body))
            except AlreadyExists:
                found = world.get(target)
                if found is None or found.body.get("operation") != operation.name:
                    raise
                return answer(found)

        return await asyncio.to_thread(made)

    async def update(operation: Record) -> dict[str, Any]:
        target, change = operation.body["target"], operation.body["arguments"]["change"]

        def changed() -> dict[str, Any]:
            return answer(
                world.edit(target, lambda present: endpoint_state.touched(world, present, **change))
            )

        return await asyncio.to_thread(changed)

    async def delete(operation: Record) -> dict[str, Any]:
        def gone() -> None:
            _require_empty(world, operation.body["target"])
            world.delete(operation.body["target"])

        await asyncio.to_thread(gone)
        return {"@type": EMPTY}

    return {f"{_PREFIX}.create": create, f"{_PREFIX}.update": update, f"{_PREFIX}.delete": delete}


def _change(mask: list[str], body: dict[str, Any], allowed: frozenset[str]) -> dict[str, Any]:
    wrong = sorted(set(mask) - allowed)
    if wrong:
        raise ApiError("INVALID_ARGUMENT", f"updateMask: {', '.join(wrong)} cannot be updated here")
    if "displayName" in mask and not body.get("displayName"):
        raise ApiError("INVALID_ARGUMENT", "Required field is not set: displayName")
    return {path: body.get(path) for path in mask}


def _edited(
    call: Call, present: dict[str, Any], body: dict[str, Any], change: dict[str, Any]
) -> dict[str, Any]:
    etag = body.get("etag")
    if etag and etag != present["etag"]:
        raise ApiError("ABORTED", f"The etag of {call.params['name']} has changed.")
    return endpoint_state.touched(call.world, present, **change)


def _checked_split(world: World, endpoint: str, split: deployed.Split) -> deployed.Split:
    deployed.check_split(split, {model["id"] for model in deployed.shown(world, endpoint)})
    return deployed.without_zeros(split)


def _require_empty(world: World, endpoint: str) -> None:
    ids = endpoint_state.occupants(world, endpoint)
    if ids:
        raise ApiError("FAILED_PRECONDITION", endpoint_state.not_empty(world, endpoint, ids))
