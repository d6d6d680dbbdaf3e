"""The address of a Cloud Run service: who may call it, which container answers, how long it may take.

The port is kept in the world, so the address stays over restarts. Responses pass through piece by piece, so
server-sent events arrive as they are sent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from rehearsal.cloud.execution_state import seconds
from rehearsal.cloud.servers import Listener, bind
from rehearsal.cloud.tokens import Tokens
from rehearsal.world import World

if TYPE_CHECKING:
    from rehearsal.cloud.service_unit import ServiceUnit

DEFAULT_TIMEOUT_SECONDS = 300.0
"""https://cloud.google.com/run/docs/configuring/request-timeout"""
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
# https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1, and what the server writes itself.
_HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
REWRITTEN = _HOP | {"date", "server"}
_LOG = logging.getLogger(__name__)


class Proxy:
    """Answers at a service's address.

    Args:
        world: where the service, its bindings and its port are.
        tokens: tells who calls.
        name: the service's full resource name.
    """

    def __init__(self, world: World, tokens: Tokens, name: str) -> None:
        self._world = world
        self._tokens = tokens
        self._name = name
        self._listener: Listener | None = None
        self._client = httpx.AsyncClient(
            # The service's own time limit holds instead, over the whole request.
            timeout=httpx.Timeout(None),
            trust_env=False,
            limits=httpx.Limits(max_connections=None),
        )
        self.unit: ServiceUnit | None = None

    async def open(self) -> str:
        """Start to listen; returns the service's address."""
        key = f"port/{self._name}"
        kept = int(await asyncio.to_thread(self._world.setting, key) or 0)
        try:
            listening = bind(kept)
        except OSError:
            listening = bind(0)
            _LOG.warning("%s: port %d is taken, its address changes", self._name, kept)
        port = listening.getsockname()[1]
        if port != kept:
            await asyncio.to_thread(self._world.set_setting, key, str(port))
        app = Starlette(routes=[Route("/{path:path}", self._answer, methods=METHODS)])
        self._listener = Listener(app, listening)
        return f"http://127.0.0.1:{port}"

    async def close(self) -> None:
        """Stop listening."""
        if self._listener is not None:
            await self._listener.close()
        await self._client.aclose()

    async def _answer(self, request: Request) -> Response:
        service, refused = await asyncio.to_thread(self._admit, request.headers.get("authorization", ""))
        if refused is not None or service is None:
            return refused or PlainTextResponse("Not Found\n", 404)
        port = self.unit.port if self.unit is not None else None
        if port is None:
            return PlainTextResponse("Service Unavailable: no container is ready\n", 503)
        limit = seconds(service["template"].get("timeout"), DEFAULT_TIMEOUT_SECONDS)
        deadline = asyncio.get_running_loop().time() + limit
        upstream = self._request(request, port)
        try:
            async with asyncio.timeout_at(deadline):
                response = await self._client.send(upstream, stream=True)
        except TimeoutError:
            return PlainTextResponse("upstream request timeout\n", 504)
        except httpx.HTTPError as error:
            return PlainTextResponse(
                f"The request failed because the container did not answer: {error}\n", 503
            )
        answer = StreamingResponse(_pieces(response, deadline), response.status_code)
        answer.raw_headers = [
            (name, value) for name, value in response.headers.raw if name.decode().lower() not in REWRITTEN
        ]
        return answer

    def _request(self, request: Request, port: int) -> httpx.Request:
        headers = [(k, v) for k, v in request.headers.raw if k.decode().lower() not in _HOP]
        path = request.scope["raw_path"].decode()
        query = request.scope["query_string"].decode()
        length = request.headers.get("content-length", "0")
        has_body = length != "0" or "transfer-encoding" in request.headers
        return self._client.build_request(
            request.method,
            f"http://127.0.0.1:{port}{path}" + (f"?{query}" if query else ""),
            headers=headers,
            content=request.stream() if has_body else None,
        )

    def _admit(self, authorization: str) -> tuple[dict[str, Any] | None, Response | None]:
        """The service's record if the caller may invoke it, else what to answer instead."""
        record = self._world.get(self._name)
        if record is None:
            return None, None
        if record.body.get("invokerIamDisabled"):
            return record.body, None
        members = ["allUsers"]
        scheme, _, token = authorization.partition(" ")
        caller = self._tokens.caller(token) if scheme.lower() == "bearer" and token else None
        if caller is not None and self._right_audience(record.body, caller.audience):
            members.append(caller.member)
        if any(self._world.allows(member, "run.routes.invoke", self._name) for member in members):
            return record.body, None
        text = (
            "Forbidden: the caller has no permission 'run.routes.invoke' on this service. Send an identity "
            "token of an account that has roles/run.invoker on it: Authorization: Bearer TOKEN\n"
        )
        return None, PlainTextResponse(text, 403)

    def _right_audience(self, service: dict[str, Any], audience: str | None) -> bool:
        uri = self.unit.uri if self.unit is not None else ""
        return audience is None or audience.rstrip("/") in (uri, *service.get("customAudiences", ()))


async def _pieces(response: httpx.Response, deadline: float) -> AsyncIterator[bytes]:
    try:
        async with asyncio.timeout_at(deadline):
            async for piece in response.aiter_raw():
                yield piece
    except TimeoutError:
        # The status line is sent: all that is left is to end the response early, as Cloud Run does.
        return
    finally:
        await response.aclose()
