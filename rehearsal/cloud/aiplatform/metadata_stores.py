"""Metadata stores of Vertex ML Metadata: create, get, list, delete."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from rehearsal.cloud.aiplatform.checks import existing
from rehearsal.cloud.aiplatform.listing import listed
from rehearsal.cloud.aiplatform.names import SCHEMA, TYPES, full, number, public
from rehearsal.cloud.aiplatform.operation_methods import begin
from rehearsal.cloud.aiplatform.operations import EMPTY, Work
from rehearsal.cloud.calls import Call, Handler
from rehearsal.cloud.discovery import Api
from rehearsal.cloud.errors import ApiError
from rehearsal.world import AlreadyExists, Record, World

KIND = "aiplatform.metadataStore"
_PREFIX = "aiplatform.projects.locations.metadataStores"
# Discovery document, metadataStores.create, metadataStoreId; Pulumi's provider knows underscores, too.
_ID = re.compile(r"[a-z0-9_-]{4,128}")


def handlers(api: Api) -> dict[str, Handler]:
    """Handlers by method id."""

    def show(call: Call, record: Record) -> dict[str, Any]:
        return api.trim(f"{SCHEMA}MetadataStore", {**record.body, "name": public(call.world, record.name)})

    def create(call: Call) -> dict[str, Any]:
        parent = full(call.world, call.params["parent"])
        call.require("aiplatform.metadataStores.create", parent)
        wanted = call.params.get("metadataStoreId")
        if wanted and not _ID.fullmatch(wanted):
            raise ApiError("INVALID_ARGUMENT", f"metadataStoreId {wanted!r} does not match {_ID.pattern}")
        target = f"{parent}/metadataStores/{wanted or number()}"
        if call.world.get(target) is not None:
            name = public(call.world, target)
            raise ApiError("ALREADY_EXISTS", f"The MetadataStore {name} already exists.")
        return begin(call, target, {"store": call.body or {}})

    def get(call: Call) -> dict[str, Any]:
        return show(call, existing(call, "aiplatform.metadataStores.get", call.params["name"], KIND))

    def listing(call: Call) -> dict[str, Any]:
        found, following = listed(
            call, "aiplatform.metadataStores.list", KIND, lambda record: show(call, record), ()
        )
        return {"metadataStores": found, "nextPageToken": following}

    def delete(call: Call) -> dict[str, Any]:
        record = existing(call, "aiplatform.metadataStores.delete", call.params["name"], KIND)
        return begin(call, record.name, {})

    return {
        f"{_PREFIX}.create": create,
        f"{_PREFIX}.get": get,
        f"{_PREFIX}.list": listing,
        f"{_PREFIX}.delete": delete,
    }


def works(api: Api, world: World) -> dict[str, Work]:
    """What the operations of these methods do."""

    async def create(operation: Record) -> dict[str, Any]:
        target, given = operation.body["target"], operation.body["arguments"]["store"]
        now = world.now()
        body = {**given, "createTime": now, "updateTime": now, "operation": operation.name}

        def made() -> dict[str, Any]:
            try:
                found = world.insert(KIND, target, body)
            except AlreadyExists:
                present = world.get(target)
                if present is None or present.body.get("operation") != operation.name:
                    raise
                found = present
            shown = {**found.body, "name": public(world, target)}
            return {"@type": f"{TYPES}.MetadataStore", **api.trim(f"{SCHEMA}MetadataStore", shown)}

        return await asyncio.to_thread(made)

    async def delete(operation: Record) -> dict[str, Any]:
        await asyncio.to_thread(world.delete, operation.body["target"])
        return {"@type": EMPTY}

    return {f"{_PREFIX}.create": create, f"{_PREFIX}.delete": delete}
