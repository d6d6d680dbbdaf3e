"""Models of Vertex AI: upload, versions, aliases, update, delete."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from rehearsal.cloud.aiplatform import artifacts, deployed, model_versions
from rehearsal.cloud.aiplatform.checks import check, masked, missing, require_account, require_fields
from rehearsal.cloud.aiplatform.listing import listed, selected
from rehearsal.cloud.aiplatform.names import SCHEMA, TYPES, full, number, public
from rehearsal.cloud.aiplatform.operation_methods import begin
from rehearsal.cloud.aiplatform.operations import EMPTY, Work
from rehearsal.cloud.calls import Call, Handler
from rehearsal.cloud.discovery import Api
from rehearsal.cloud.errors import ApiError
from rehearsal.world import AlreadyExists, Record, World

KIND = "aiplatform.model"
REQUEST = "aiplatform.v1:Model"
"""Under which `rehearsal/data/refusals` has what is refused of a request to upload a model."""
_PREFIX = "aiplatform.projects.locations.models"
_ID = re.compile(r"[a-z_][a-z0-9_-]{0,62}")
_FILTERED = ("model", "displayName", "labels", "baseModelName")


def handlers(api: Api) -> dict[str, Handler]:
    """Handlers by method id."""

    def show(call: Call, record: Record, version: str) -> dict[str, Any]:
        name = public(call.world, record.name)
        found = {**model_versions.shown(record.body, version), "name": name}
        if pointers := deployed.references(call.world, record.name, version):
            found["deployedModels"] = pointers
        return api.trim(f"{SCHEMA}Model", found)

    def upload(call: Call) -> dict[str, Any]:
        parent = full(call.world, call.params["parent"])
        call.require("aiplatform.models.upload", parent)
        body = require_fields(api, call)
        check(call.world, parent, REQUEST, body["model"])
        require_account(call, body.get("serviceAccount"))
        target = _target(call, parent, body)
        return begin(call, target, {"model": body["model"], "new": not body.get("parentModel")})

    def get(call: Call) -> dict[str, Any]:
        record, version = _version(call, "aiplatform.models.get")
        return show(call, record, version)

    def default(call: Call, record: Record) -> dict[str, Any]:
        return show(call, record, model_versions.resolve(record.body, ""))

    def listing(call: Call) -> dict[str, Any]:
        found, following = listed(
            call, "aiplatform.models.list", KIND, lambda record: default(call, record), _FILTERED
        )
        return {"models": found, "nextPageToken": following}

    def versions(call: Call) -> dict[str, Any]:
        record, _ = _version(call, "aiplatform.models.get")
        shown = [show(call, record, version) for version in record.body["versions"]]
        newest = sorted(shown, key=lambda each: int(each["versionId"]), reverse=True)
        found, following = selected(call, newest, _FILTERED)
        return {"models": found, "nextPageToken": following}

    def merge(call: Call) -> dict[str, Any]:
        record, version = _version(call, "aiplatform.models.update")
        changes = require_fields(api, call)["versionAliases"]
        after = call.world.edit(
            record.name, lambda body: model_versions.merge_aliases(body, version, changes)
        )
        return show(call, after, version)

    def patch(call: Call) -> dict[str, Any]:
        record, version = _version(call, "aiplatform.models.update")
        mask, body = masked(call.params.get("updateMask")), call.body or {}
        check(call.world, record.name, REQUEST, {**model_versions.shown(record.body, version), **body})
        reference = call.params["name"].rpartition("@")[2] if "@" in call.params["name"] else "-"
        named = None if reference == "-" else version

        def changed(present: dict[str, Any]) -> dict[str, Any]:
            etag = body.get("etag")
            if etag and etag != present["versions"][version]["etag"]:
                raise ApiError("ABORTED", f"The etag of {call.params['name']} has changed.")
            return model_versions.update(present, named, body, mask, call.world.now())

        return show(call, call.world.edit(record.name, changed), version)

    def delete(call: Call) -> dict[str, Any]:
        record, _ = _version(call, "aiplatform.models.delete")
        if "@" in call.params["name"]:
            message = f"{call.params['name']}: to delete a version, use :deleteVersion"
            raise ApiError("INVALID_ARGUMENT", message)
        _require_unused(call.world, record, None)
        return begin(call, record.name, {})

    def delete_version(call: Call) -> dict[str, Any]:
        record, version = _version(call, "aiplatform.models.delete")
        if "@" not in call.params["name"]:
            raise ApiError("INVALID_ARGUMENT", f"{call.params['name']} names no version")
        if len(record.body["versions"]) == 1:
            raise ApiError(
                "FAILED_PRECONDITION",
                f"{call.params['name']} is the only version of its model: delete the model instead",
            )
        if model_versions.DEFAULT in record.body["versions"][version]["versionAliases"]:
            raise ApiError(
                "FAILED_PRECONDITION",
                f"{call.params['name']} is the default version: give the alias 'default' to another",
            )
        _require_unused(call.world, record, version)
        return begin(call, record.name, {"version": version})

    return {
        f"{_PREFIX}.upload": upload,
        f"{_PREFIX}.get": get,
        f"{_PREFIX}.list": listing,
        f"{_PREFIX}.listVersions": versions,
        f"{_PREFIX}.mergeVersionAliases": merge,
        f"{_PREFIX}.patch": patch,
        f"{_PREFIX}.delete": delete,
        f"{_PREFIX}.deleteVersion": delete_version,
    }


def works(world: World) -> dict[str, Work]:
    """What the operations of these methods do."""

    async def upload(operation: Record) -> dict[str, Any]:
        name, version = await asyncio.to_thread(_uploaded, world, operation)
        return {"@type": f"{TYPES}.UploadModelResponse", "model": name, "modelVersionId": version}

    async def delete(operation: Record) -> dict[str, Any]:
        await asyncio.to_thread(_deleted, world, operation)
        return {"@type": EMPTY}

    return {f"{_PREFIX}.upload": upload, f"{_PREFIX}.delete": delete, f"{_PREFIX}.deleteVersion": delete}


def find_version(world: World, reference: str) -> tuple[Record, str]:
    """The model and the version that `projects/…/models/ID[@VERSION]` names.

    Raises:
        ApiError: there is no such model or version.
    """
    path, _, wanted = reference.partition("@")
    record = world.get(full(world, path)) if path.count("/") == 5 else None
    if record is None or record.kind != KIND:
        raise missing(KIND, reference)
    try:
        return record, model_versions.resolve(record.body, wanted)
    except KeyError:
        raise missing(KIND, reference) from None


def _version(call: Call, permission: str) -> tuple[Record, str]:
    call.require(permission, full(call.world, call.params["name"].partition("@")[0]))
    return find_version(call.world, call.params["name"])


def _target(call: Call, parent: str, body: dict[str, Any]) -> str:
    """The full name of the model that an upload is for."""
    above, wanted = body.get("parentModel"), body.get("modelId")
    if above:
        record, _ = find_version(call.world, above)
        if not record.name.startswith(f"{parent}/"):
            raise ApiError("INVALID_ARGUMENT", f"parentModel {above} is not in {call.params['parent']}")
        if wanted and wanted != record.name.rpartition("/")[2]:
            raise ApiError("INVALID_ARGUMENT", "modelId and parentModel name different models")
        return record.name
    if wanted and not _ID.fullmatch(wanted):
        raise ApiError("INVALID_ARGUMENT", f"modelId {wanted!r} does not match {_ID.pattern}")
    target = f"{parent}/models/{wanted or number()}"
    if call.world.get(target) is not None:
        raise ApiError("ALREADY_EXISTS", f"The Model {public(call.world, target)} already exists.")
    return target


def _uploaded(world: World, operation: Record) -> tuple[str, str]:
    target, arguments = operation.body["target"], operation.body["arguments"]
    model, now = arguments["model"], world.now()
    mark = operation.body["name"]
    # Checked before anything is there: what cannot become a version leaves no empty model.
    model_versions.add(model_versions.empty(model, now), model, mark, now)
    if model.get("artifactUri"):
        copy = artifacts.ingest(world, f"{target}/{mark}", model["artifactUri"])
        model = {**model, "artifacts": copy}
    if arguments["new"]:
        made, _ = model_versions.add(model_versions.empty(model, now), model, mark, now)
        try:
            world.insert(KIND, target, made)
        except AlreadyExists:
            found = world.get(target)
            if found is None or found.body["versions"].get("1", {}).get("operation") != mark:
                artifacts.discard(world, f"{target}/{mark}")
                raise
    else:
        world.edit(target, lambda body: model_versions.add(body, model, mark, now)[0])
    after = world.get(target)
    versions = after.body["versions"] if after is not None else {}
    version = next((id for id, found in versions.items() if found["operation"] == mark), "")
    return public(world, target), version


def _deleted(world: World, operation: Record) -> None:
    target, version = operation.body["target"], operation.body["arguments"].get("version")
    record = world.get(target)
    if record is None:
        return
    _require_unused(world, record, version)
    gone = [version] if version else list(record.body["versions"])
    for each in gone:
        found = record.body["versions"].get(each)
        if found is not None:
            artifacts.discard(world, f"{target}/{found['operation']}")
    if version is None:
        world.delete(target)
    else:
        world.edit(
            target,
            lambda body: {**body, "versions": {k: v for k, v in body["versions"].items() if k != version}},
        )


def _require_unused(world: World, record: Record, version: str | None) -> None:
    """Refuse to delete what is deployed: the discovery document says so of both methods."""
    used = deployed.references(world, record.name, version)
    if used:
        where = ", ".join(f"{each['endpoint']} ({each['deployedModelId']})" for each in used)
        raise ApiError(
            "FAILED_PRECONDITION",
            f"The Model {public(world, record.name)} cannot be deleted: it is deployed at {where}. "
            "Undeploy it first.",
        )
