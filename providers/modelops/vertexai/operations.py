"""Long-running operations of Vertex AI: polled, shown in the status line, found again, and explained."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from providers.base.errors import ProviderError, one_line
from providers.base.provider import Provider
from providers.modelops.client import NotFound
from providers.modelops.polling import Deadline, Watch, until_done
from providers.modelops.vertexai.api import MORE_QUOTA, VertexApi

# google.rpc.Code.
_CANCELLED, _EXHAUSTED, _UNAVAILABLE = 1, 8, 14
_QUOTA = re.compile(r"quota", re.IGNORECASE)
_REMEDIES = {
    "quota": MORE_QUOTA,
    "stock": "the machine is not to be had there now: run the command again later, or take another machine "
    "or region",
}


class OperationFailed(ProviderError):  # noqa: N818 - what happened, not an error
    """Google worked on it and gave up; nothing of it is left."""


@dataclass(frozen=True, slots=True)
class Operation:
    """How a long-running operation stands."""

    name: str
    done: bool
    message: str
    """What it does now; empty where Google does not say."""
    response: dict[str, Any]
    code: int = 0
    """google.rpc.Code of its failure; 0 where it has not failed."""
    failure: str = ""

    @staticmethod
    def of(body: dict[str, Any]) -> Operation:
        """The operation that an answer of Google's describes."""
        error = body.get("error") or {}
        stage = str((body.get("metadata") or {}).get("deploymentStage", ""))
        return Operation(
            name=body["name"],
            done=bool(body.get("done")),
            message=stage.lower().replace("_", " "),
            response=body.get("response") or {},
            code=int(error.get("code", 0)),
            failure=one_line(error.get("message", "")),
        )


class Operations:
    """Reads operations. Methods block, and raise as `VertexApi.call` does.

    Args:
        api: sends the requests.
    """

    def __init__(self, api: VertexApi) -> None:
        self._api = api

    def get(self, name: str) -> Operation:
        """An operation as it is now."""
        return Operation.of(
            self._api.call(f"watching operation {name}", f"{_collection(name)}.get", name=name)
        )

    def running(self, owner: str, repeat: bool = True) -> Operation | None:
        """An operation on a resource that has not ended, whoever began it.

        None also where the resource does not exist.
        """
        method = f"{_collection(owner + '/operations/')}.list"
        try:
            found = list(
                self._api.pages(
                    f"looking for operations on {owner}", method, "operations", repeat=repeat, name=owner
                )
            )
        except NotFound:
            return None
        live = (Operation.of(body) for body in found)
        return next((operation for operation in live if not operation.done), None)

    async def finished(
        self, provider: Provider, operation: Operation, urn: str, what: str, deadline: Deadline
    ) -> Operation:
        """Waits until an operation has ended, well or badly; raises as `until_done` does."""
        watch = Watch(urn, what, "the operation", deadline.left)
        return await until_done(provider, watch, operation, lambda: self.get(operation.name))

    async def response(
        self, provider: Provider, operation: Operation, urn: str, what: str, deadline: Deadline
    ) -> dict[str, Any]:
        """What an operation gives once it has ended well.

        Raises:
            OperationFailed: it ended badly; the message says why, and what to do.
        """
        ended = await self.finished(provider, operation, urn, what, deadline)
        if ended.code:
            raise OperationFailed(f"{what}: {explained(ended)}")
        return ended.response

    async def quiet(self, provider: Provider, owner: str, urn: str, what: str, deadline: Deadline) -> None:
        """Waits until nothing is being done to a resource any more, however that ends."""
        while True:
            running = await provider.blocking(self.running, owner)
            if running is None:
                return
            await self.finished(
                provider, running, urn, f"{what}: waiting for an operation begun before", deadline
            )


def explained(operation: Operation) -> str:
    """Why an operation failed, and what a person does about it."""
    if operation.code == _CANCELLED:
        return f"the operation was cancelled; run `pulumi up` again ({operation.failure or operation.name})"
    said = operation.failure.rstrip(".") or f"Google gives no reason (code {operation.code})"
    if operation.code in (_EXHAUSTED, _UNAVAILABLE):
        return f"{said}; {_REMEDIES['quota' if _QUOTA.search(said) else 'stock']}"
    return said


def _collection(name: str) -> str:
    """Where among the API's methods an operation's are: `models.operations`, or `operations` alone."""
    owner = name.split("/")[4]
    return owner if owner == "operations" else f"{owner}.operations"
