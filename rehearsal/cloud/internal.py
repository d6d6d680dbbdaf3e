"""What our own processes ask of the cloud process: `/rehearsal/v1/…`, guarded by the folder's secret."""

from __future__ import annotations

import asyncio
import hmac
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from rehearsal.cloud.calls import Cloud
from rehearsal.cloud.errors import ApiError

SECRET_HEADER = "x-llmstack-secret"  # noqa: S105 - the name of a header
PREFIX = "/rehearsal/v1"


class Internal:
    """The internal API.

    Args:
        cloud: what handlers share.
        secret: what a caller has to show.
        shutdown: ends the process.
    """

    def __init__(self, cloud: Cloud, secret: str, shutdown: Callable[[], None]) -> None:
        self._cloud = cloud
        self._secret = secret
        self._shutdown = shutdown

    async def answer(self, request: Request) -> Response:
        """Answer one request.

        Raises:
            ApiError: a wrong secret, an unknown action, a missing field.
        """
        if not hmac.compare_digest(request.headers.get(SECRET_HEADER, ""), self._secret):
            raise ApiError("PERMISSION_DENIED", "this address is for the rehearsal's own processes")
        action = request.path_params["action"]
        body = await _body(request)
        if action == "status":
            return JSONResponse(await self._status())
        if action == "shutdown":
            self._shutdown()
            return JSONResponse({})
        supervisor = self._cloud.supervisor
        if action == "reconcile":
            outcome = await supervisor.reconcile(_field(body, "name"), float(body.get("timeout", 600)))
            return JSONResponse(asdict(outcome))
        if action == "remove":
            await supervisor.remove(_field(body, "name"))
            return JSONResponse({})
        if action == "cancel":
            return JSONResponse({"cancelled": await supervisor.cancel_job(_field(body, "name"))})
        raise ApiError("NOT_FOUND", f"no action '{action}'")

    async def _status(self) -> dict[str, Any]:
        executions = self._cloud.supervisor.executions.running()
        return {
            "folder": str(self._cloud.world.folder),
            "pid": os.getpid(),
            "services": await asyncio.to_thread(self._cloud.supervisor.describe),
            "executions": executions,
        }


async def _body(request: Request) -> dict[str, Any]:
    raw = await request.body()
    try:
        parsed = json.loads(raw) if raw else {}
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        raise ApiError("INVALID_ARGUMENT", "the body is not a JSON object")
    return parsed


def _field(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise ApiError("INVALID_ARGUMENT", f"'{name}' is missing")
    return value
