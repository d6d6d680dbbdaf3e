"""Long-running operations of Vertex AI: begun by a request, worked off beside it, kept over restarts.

An operation is a record. Its work is a call of its own in the world, `METHOD.operation`, so that a fault can
strike the work and not the request: the operation is then slow, or ends with Google's error.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from rehearsal.cloud.aiplatform.names import SERVICE, TYPES, full, number, public
from rehearsal.cloud.errors import ApiError
from rehearsal.cloud.recorded import inside
from rehearsal.world import NotFound, Record, World, WorldError

KIND = "aiplatform.operation"
SECONDS = "aiplatform.operation_seconds"
"""Setting: how long every operation takes at least."""
EMPTY = "type.googleapis.com/google.protobuf.Empty"
WORK = ".operation"
"""What a method's id ends with where its operation's work is recorded."""
# https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
CODES = {
    "CANCELLED": 1,
    "INVALID_ARGUMENT": 3,
    "NOT_FOUND": 5,
    "ALREADY_EXISTS": 6,
    "PERMISSION_DENIED": 7,
    "RESOURCE_EXHAUSTED": 8,
    "FAILED_PRECONDITION": 9,
    "ABORTED": 10,
    "INTERNAL": 13,
    "UNAVAILABLE": 14,
}
# Discovery document, DeployModelOperationMetadata.deploymentStage.
_STAGE = "deploymentStage"
_BEGUN, _DEPLOYED, _FAILED = "STARTING_MODEL_SERVER", "SUCCESSFULLY_DEPLOYED", "FAILED_TO_DEPLOY"
_LOG = logging.getLogger(__name__)

Work = Callable[[Record], Awaitable[dict[str, Any]]]
"""Does an operation's work and returns its response, with `@type`. It may be started anew after a crash."""


class Operations:
    """The operations that run now.

    Args:
        world: where their records are.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._works: dict[str, Work] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopping = False

    @property
    def busy(self) -> bool:
        """Whether any runs."""
        return bool(self._tasks)

    def register(self, works: dict[str, Work]) -> None:
        """Say how the operations of some methods work."""
        self._works.update(works)

    def restore(self) -> None:
        """Go on with what an earlier cloud process did not finish."""
        for record in self._world.list(KIND):
            if not record.body["done"]:
                self.begin(record.name)

    def begin(self, name: str) -> None:
        """Work on an operation that is a record already; returns at once. Call it on the event loop."""
        task = asyncio.create_task(self._run(name))
        self._tasks[name] = task
        task.add_done_callback(lambda done: self._finished(name, done))

    async def cancel(self, name: str) -> None:
        """Call an operation off and wait until what it had begun is undone."""
        task = self._tasks.get(name)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def stop(self) -> None:
        """Leave every operation as it is: the next cloud process goes on with it."""
        self._stopping = True
        for task in self._tasks.values():
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    async def _run(self, name: str) -> None:
        record = await asyncio.to_thread(self._world.get, name)
        if record is None:
            return
        try:
            response = await self._worked(record)
        except asyncio.CancelledError:
            if not self._stopping:
                await asyncio.to_thread(self._fail, name, "CANCELLED", "The operation was cancelled.")
            raise
        except (ApiError, WorldError) as error:
            await asyncio.to_thread(self._fail, name, error.status, error.message)
        except Exception as error:
            _LOG.exception("%s", name)
            message = f"the rehearsed cloud failed ({type(error).__name__}): see cloud.log in its folder"
            await asyncio.to_thread(self._fail, name, "INTERNAL", message)
        else:
            await asyncio.to_thread(self._end, name, {"response": response})

    async def _worked(self, record: Record) -> dict[str, Any]:
        method, target = record.body["method"], record.body["target"]
        recorded = self._world.call(SERVICE, f"{method}{WORK}", target)
        return await inside(recorded, self._paced(record, self._works[method]))

    async def _paced(self, record: Record, work: Work) -> dict[str, Any]:
        least = await asyncio.to_thread(self._world.setting, SECONDS)
        await asyncio.sleep(float(least or 0))
        return await work(record)

    def _fail(self, name: str, status: str, message: str) -> None:
        self._end(name, {"error": {"code": CODES.get(status, 2), "message": message}})

    def _end(self, name: str, result: dict[str, Any]) -> None:
        def ended(body: dict[str, Any]) -> dict[str, Any]:
            generic = {**body["metadata"]["genericMetadata"], "updateTime": self._world.now()}
            metadata = {**body["metadata"], "genericMetadata": generic}
            if _STAGE in metadata:
                metadata[_STAGE] = _FAILED if "error" in result else _DEPLOYED
            return {**body, "done": True, "metadata": metadata, **result}

        try:
            self._world.edit(name, ended)
        except NotFound:
            _LOG.info("%s was deleted while it ran", name)

    def _finished(self, name: str, task: asyncio.Task[None]) -> None:
        self._tasks.pop(name, None)
        if not task.cancelled() and task.exception() is not None:
            _LOG.error("%s", name, exc_info=task.exception())


def record_name(world: World, name: str) -> str:
    """The record of an operation by its API name.

    It does not lie below its resource's record, whose deletion must not delete the operation that does it.
    """
    service, _, path = full(world, name).partition("/")
    return f"{service}/operations/{path}"


def new_operation(world: World, method: str, target: str, arguments: dict[str, Any]) -> Record:
    """Write down an operation that is about to begin.

    Args:
        world: the rehearsal's world.
        method: id of the method that asks for it.
        target: full name of the resource that it is about.
        arguments: what its work needs.
    """
    name = f"{public(world, target)}/operations/{number()}"
    now = world.now()
    verb = method.rpartition(".")[2]
    metadata = {
        "@type": f"{TYPES}.{_metadata_type(method, verb)}",
        "genericMetadata": {"createTime": now, "updateTime": now},
        **({_STAGE: _BEGUN} if verb == "deployModel" else {}),
    }
    body = {
        "name": name,
        "metadata": metadata,
        "done": False,
        "method": method,
        "target": target,
        "arguments": arguments,
    }
    return world.insert(KIND, record_name(world, name), body)


def shown(body: dict[str, Any]) -> dict[str, Any]:
    """An operation as Google shows it."""
    known = ("name", "metadata", "done", "response", "error")
    return {key: body[key] for key in known if key in body}


def _metadata_type(method: str, verb: str) -> str:
    special = {
        "upload": "UploadModelOperationMetadata",
        "deployModel": "DeployModelOperationMetadata",
        "undeployModel": "UndeployModelOperationMetadata",
        "mutateDeployedModel": "MutateDeployedModelOperationMetadata",
        "update": "UpdateEndpointOperationMetadata",
    }
    if verb == "create":
        return {
            "endpoints": "CreateEndpointOperationMetadata",
            "metadataStores": "CreateMetadataStoreOperationMetadata",
        }[method.split(".")[-2]]
    return special.get(verb, "DeleteOperationMetadata")
