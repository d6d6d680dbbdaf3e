"""Models at endpoints: deploy, undeploy, and change what is deployed."""

from __future__ import annotations

import asyncio
from typing import Any

from rehearsal.cloud.aiplatform import deployed, endpoint_state, quotas
from rehearsal.cloud.aiplatform.checks import check, existing, masked, require_account, require_fields
from rehearsal.cloud.aiplatform.deployed import (
    DEPLOYED,
    DEPLOYING,
    ENDPOINT,
    NEW,
    READY,
    UNDEPLOYING,
    deployed_name,
)
from rehearsal.cloud.aiplatform.deployment_records import deploying, readied
from rehearsal.cloud.aiplatform.models import find_version
from rehearsal.cloud.aiplatform.names import TYPES, number, public
from rehearsal.cloud.aiplatform.operation_methods import begin
from rehearsal.cloud.aiplatform.operations import Work
from rehearsal.cloud.aiplatform.serving import DeployedModels
from rehearsal.cloud.calls import Call, Handler
from rehearsal.cloud.discovery import Api
from rehearsal.cloud.errors import ApiError
from rehearsal.world import Record, World

REQUEST = "aiplatform.v1:DeployedModel"
"""Under which `rehearsal/data/refusals` has what is refused of a request to deploy a model."""
_PREFIX = "aiplatform.projects.locations.endpoints"
_RESOURCES = "dedicatedResources"
_MUTABLE = frozenset(
    {
        f"{_RESOURCES}.minReplicaCount",
        f"{_RESOURCES}.maxReplicaCount",
        f"{_RESOURCES}.requiredReplicaCount",
        f"{_RESOURCES}.autoscalingMetricSpecs",
        "disableContainerLogging",
    }
)
"""Discovery document, MutateDeployedModelRequest.deployedModel."""


def handlers(api: Api) -> dict[str, Handler]:
    """Handlers by method id."""

    def deploy(call: Call) -> dict[str, Any]:
        endpoint = existing(call, "aiplatform.endpoints.deploy", call.params["endpoint"], ENDPOINT)
        body = require_fields(api, call)
        given, split = body["deployedModel"], body.get("trafficSplit") or {}
        check(call.world, endpoint.name, REQUEST, given)
        require_account(call, given.get("serviceAccount"))
        if not given.get("model"):
            raise ApiError("INVALID_ARGUMENT", "Required field is not set: deployedModel.model")
        find_version(call.world, given["model"])
        id = deployed.new_id(call.world, endpoint.name, given.get("id"), number())
        known = {model["id"] for model in deployed.shown(call.world, endpoint.name)}
        deployed.check_split(split, known | {NEW})
        return begin(call, endpoint.name, {"deployedModel": given, "trafficSplit": split, "id": id})

    def undeploy(call: Call) -> dict[str, Any]:
        endpoint = existing(call, "aiplatform.endpoints.undeploy", call.params["endpoint"], ENDPOINT)
        body = require_fields(api, call)
        id, split = body["deployedModelId"], body.get("trafficSplit") or {}
        _, after = _without(call.world, endpoint.name, id, split)
        deployed.check_split(after, {model["id"] for model in deployed.shown(call.world, endpoint.name)})
        return begin(call, endpoint.name, {"id": id, "trafficSplit": split})

    def mutate(call: Call) -> dict[str, Any]:
        endpoint = existing(call, "aiplatform.endpoints.update", call.params["endpoint"], ENDPOINT)
        body = call.body or {}
        change, mask = body.get("deployedModel") or {}, masked(body.get("updateMask"))
        found = _ready(call.world, endpoint.name, change.get("id") or "")
        after = _mutated(found.body["deployedModel"], change, mask)
        check(call.world, endpoint.name, REQUEST, after)
        return begin(call, endpoint.name, {"id": after["id"], "change": change, "mask": mask})

    return {
        f"{_PREFIX}.deployModel": deploy,
        f"{_PREFIX}.undeployModel": undeploy,
        f"{_PREFIX}.mutateDeployedModel": mutate,
    }


def works(world: World, serving: DeployedModels) -> dict[str, Work]:
    """What the operations of these methods do.

    Args:
        world: the rehearsal's world.
        serving: runs the containers.
    """
    # Two deployments must not both find the same quota free.
    counting = asyncio.Lock()

    async def deploy(operation: Record) -> dict[str, Any]:
        name = deployed_name(operation.body["target"], operation.body["arguments"]["id"])
        try:
            async with counting:
                limit = await asyncio.to_thread(deploying, world, operation)
            outcome = await serving.start(name, limit)
            if not outcome.ready:
                raise ApiError(
                    "FAILED_PRECONDITION",
                    "Model server never became ready. Please validate that your model file or container "
                    f"configuration are valid. {outcome.message}",
                )
            model = await asyncio.to_thread(readied, world, operation)
        except BaseException:
            # Also when it was called off: nothing of it may stay.
            await serving.remove(name)
            await asyncio.to_thread(world.delete, name)
            raise
        return {"@type": f"{TYPES}.DeployModelResponse", "deployedModel": model}

    async def undeploy(operation: Record) -> dict[str, Any]:
        endpoint, arguments = operation.body["target"], operation.body["arguments"]
        name = deployed_name(endpoint, arguments["id"])

        def begun() -> None:
            if world.get(name) is None:
                return
            _, split = _without(world, endpoint, arguments["id"], arguments["trafficSplit"], retried=True)
            world.edit(name, lambda body: {**body, "stage": UNDEPLOYING})
            world.edit(endpoint, lambda body: endpoint_state.touched(world, body, trafficSplit=split))

        await asyncio.to_thread(begun)
        await serving.remove(name)
        await asyncio.to_thread(world.delete, name)
        return {"@type": f"{TYPES}.UndeployModelResponse"}

    async def mutate(operation: Record) -> dict[str, Any]:
        endpoint, arguments = operation.body["target"], operation.body["arguments"]

        def changed() -> dict[str, Any]:
            found = _ready(world, endpoint, arguments["id"])
            after = _mutated(found.body["deployedModel"], arguments["change"], arguments["mask"])
            quotas.require(world, found.name, after)
            edited = world.edit(found.name, lambda body: {**body, "deployedModel": after})
            shown: dict[str, Any] = edited.body["deployedModel"]
            return shown

        async with counting:
            model = await asyncio.to_thread(changed)
        return {"@type": f"{TYPES}.MutateDeployedModelResponse", "deployedModel": model}

    return {
        f"{_PREFIX}.deployModel": deploy,
        f"{_PREFIX}.undeployModel": undeploy,
        f"{_PREFIX}.mutateDeployedModel": mutate,
    }


def _ready(world: World, endpoint: str, id: str, *, retried: bool = False) -> Record:
    """A model that is deployed.

    Args:
        world: the rehearsal's world.
        endpoint: full name of its endpoint.
        id: its id.
        retried: whether it may be going already, because a crash interrupted who takes it away.

    Raises:
        ApiError: it is not there, or not ready.
    """
    record = world.get(deployed_name(endpoint, id)) if id else None
    if record is None or record.kind != DEPLOYED or record.body["stage"] == DEPLOYING:
        where = public(world, endpoint)
        raise ApiError("NOT_FOUND", f"DeployedModel {id!r} is not found in Endpoint {where}.")
    if record.body["stage"] != READY and not retried:
        raise ApiError("FAILED_PRECONDITION", f"DeployedModel {id} is being undeployed.")
    return record


def _without(
    world: World, endpoint: str, id: str, given: deployed.Split, *, retried: bool = False
) -> tuple[Record, deployed.Split]:
    """The model that goes, and the traffic split without it.

    Raises:
        ApiError: it is not there, or would still get traffic.
    """
    record = _ready(world, endpoint, id, retried=retried)
    if [model["id"] for model in deployed.shown(world, endpoint)] == [id]:
        return record, {}
    found = world.get(endpoint)
    present = found.body.get("trafficSplit") or {} if found is not None else {}
    split = deployed.without_zeros(given or present)
    if id in split:
        raise ApiError(
            "FAILED_PRECONDITION",
            f"DeployedModel {id} cannot be undeployed: {split[id]} % of the traffic goes to it. Give its "
            "share to others with trafficSplit.",
        )
    return record, split


def _mutated(present: dict[str, Any], change: dict[str, Any], mask: list[str]) -> dict[str, Any]:
    wrong = [path for path in mask if path not in _MUTABLE and path != _RESOURCES]
    if wrong:
        raise ApiError("INVALID_ARGUMENT", f"updateMask: {', '.join(wrong)} cannot be mutated")
    given = change.get(_RESOURCES) or {}
    resources = dict(present.get(_RESOURCES) or {})
    for path in _MUTABLE if _RESOURCES in mask else mask:
        field = path.removeprefix(f"{_RESOURCES}.")
        if field == path:
            continue
        if field in given:
            resources[field] = given[field]
        elif _RESOURCES not in mask:
            resources.pop(field, None)
    after = {**present, _RESOURCES: resources}
    if "disableContainerLogging" in mask:
        after["disableContainerLogging"] = bool(change.get("disableContainerLogging"))
    return after
