"""Predictions: sent to the container of a deployed model, chosen by the endpoint's traffic split.

Which address takes them, and what goes through unchanged, follows the discovery document
(Endpoint.dedicatedEndpointEnabled, endpoints.predict, .rawPredict, .streamRawPredict) and
https://cloud.google.com/vertex-ai/docs/predictions/get-online-predictions.
"""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import AsyncExitStack

import httpx
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from rehearsal.cloud.aiplatform import container, deployed
from rehearsal.cloud.aiplatform.checks import existing
from rehearsal.cloud.aiplatform.deployed import ENDPOINT, READY, deployed_name
from rehearsal.cloud.aiplatform.endpoint_state import DEDICATED_DOMAIN
from rehearsal.cloud.aiplatform.names import public
from rehearsal.cloud.calls import Call
from rehearsal.cloud.errors import STATUSES, ApiError
from rehearsal.cloud.execution_state import seconds
from rehearsal.cloud.proxy import REWRITTEN
from rehearsal.world import Record

_PREFIX = "aiplatform.projects.locations.endpoints"
PREDICT, RAW, STREAM = (f"{_PREFIX}.{verb}" for verb in ("predict", "rawPredict", "streamRawPredict"))
METHODS = frozenset({PREDICT, RAW, STREAM})
_DEFAULT_SECONDS = 600.0
"""Unless Endpoint.clientConnectionConfig.inferenceTimeout says otherwise; Google's own default is shorter on
the shared address (unconfirmed), and a rehearsal's CPU is slower than the machine that was asked for."""
_PERMISSION = "aiplatform.endpoints.predict"
_TRIES = 100
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class _Streamed(StreamingResponse):
    """An answer that is passed on piece by piece.

    Args:
        response: the container's.
        stack: what to close at the end, however it ends: also when the client leaves before it began.
        headers: what Vertex AI adds.
    """

    def __init__(self, response: httpx.Response, stack: AsyncExitStack, headers: dict[str, str]) -> None:
        super().__init__(response.aiter_raw(), response.status_code, headers)
        self._stack = stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        async with self._stack:
            await super().__call__(scope, receive, send)


class Predictions:
    """Answers predictions."""

    def __init__(self) -> None:
        self._client: httpx.AsyncClient | None = None

    async def answer(self, call: Call, raw: bytes) -> Response:
        """Answer one request.

        Args:
            call: the request; its body is parsed for `predict` only.
            raw: the body as it came.

        Raises:
            ApiError: nobody may ask, nobody is there to answer, or the container failed.
        """
        endpoint = await asyncio.to_thread(existing, call, _PERMISSION, call.params["endpoint"], ENDPOINT)
        _require_address(call, endpoint)
        limit = seconds(
            (endpoint.body.get("clientConnectionConfig") or {}).get("inferenceTimeout"), _DEFAULT_SECONDS
        )
        async with AsyncExitStack() as stack:
            record, port = await self._target(call, endpoint.name, stack)
            if call.method == PREDICT:
                if not (call.body or {}).get("instances"):
                    raise ApiError("INVALID_ARGUMENT", "Required field is not set: instances")
                raw = json.dumps(call.body).encode()
            response = await self._ask(stack, call, record, port, raw, limit)
            if call.method == PREDICT:
                return await _parsed(call, record, response)
            answer = _Streamed(response, stack.pop_all(), _headers(endpoint, record))
            answer.raw_headers += [
                (name, value)
                for name, value in response.headers.raw
                if name.decode().lower() not in REWRITTEN
            ]
            return answer

    async def _target(self, call: Call, endpoint: str, stack: AsyncExitStack) -> tuple[Record, int]:
        """The deployed model that answers, and where; it stays until the stack is closed."""
        for _ in range(_TRIES):
            record = await asyncio.to_thread(_chosen, call, endpoint)
            if record is None:
                continue
            unit = call.cloud.supervisor.deployed.unit(record.name)
            if unit is None:
                raise ApiError(
                    "UNAVAILABLE",
                    f"DeployedModel {record.name.rpartition('/')[2]} has no container: this rehearsal "
                    "starts none (LLMSTACK_RUNNER)",
                )
            port = stack.enter_context(unit.asked())
            if port is not None:
                return record, port
            # It was taken away or is starting again: the split may have changed by now.
            await asyncio.sleep(0.1)
        raise ApiError("UNAVAILABLE", "The service is currently unavailable: no replica is ready.")

    async def _ask(
        self, stack: AsyncExitStack, call: Call, record: Record, port: int, raw: bytes, limit: float
    ) -> httpx.Response:
        if self._client is None:
            # A connection that is kept may be closed by the container just when it is used again.
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
            self._client = httpx.AsyncClient(trust_env=False, limits=limits)
        route = container.predict_route(record.body["template"])
        given = call.request.headers.get("content-type", "application/json")
        request = self._client.build_request(
            "POST",
            f"http://127.0.0.1:{port}{route}",
            content=raw,
            headers={"content-type": "application/json" if call.method == PREDICT else given},
            timeout=httpx.Timeout(limit, connect=10),
        )
        try:
            response = await self._client.send(request, stream=True)
        except httpx.TimeoutException:
            raise ApiError("DEADLINE_EXCEEDED", f"The container did not answer within {limit:g} s.") from None
        except httpx.HTTPError as error:
            raise ApiError("UNAVAILABLE", f"The container did not answer: {error}") from None
        stack.push_async_callback(response.aclose)
        return response


def _require_address(call: Call, endpoint: Record) -> None:
    """Refuse a request at an address that the endpoint does not answer at.

    In a rehearsal all addresses are one; which one was meant says the Host header. That of a private endpoint
    is whatever its own network calls it.
    """
    host = call.request.headers.get("host", "").rpartition(":")[0] or call.request.headers.get("host", "")
    dns = endpoint.body.get("dedicatedEndpointDns")
    shared = host in _LOOPBACK or host.endswith(".googleapis.com")
    name = public(call.world, endpoint.name)
    if dns and host != dns:
        raise ApiError(
            "FAILED_PRECONDITION",
            f"Dedicated Endpoint is enabled for {name}: send predictions to its own address, https://{dns}",
        )
    if host.endswith(DEDICATED_DOMAIN) and host != dns:
        raise ApiError("NOT_FOUND", f"The Endpoint does not exist: {name} has no address {host}")
    if endpoint.body.get("privateServiceConnectConfig") and shared:
        raise ApiError(
            "FAILED_PRECONDITION",
            f"Private Service Connect is enabled for {name}: it answers in the networks of its allowed "
            "projects only",
        )


def _chosen(call: Call, endpoint: str) -> Record | None:
    """Who answers this request, by the traffic split; None when the split changed while it was read.

    Raises:
        ApiError: nobody gets traffic.
    """
    record = call.world.get(endpoint)
    split: deployed.Split = (record.body.get("trafficSplit") if record is not None else None) or {}
    if not split:
        raise ApiError(
            "FAILED_PRECONDITION", f"The Endpoint {public(call.world, endpoint)} doesn't have traffic_split."
        )
    ids = list(split)
    (id,) = random.choices(ids, [split[each] for each in ids])  # noqa: S311 - spreads load
    found = call.world.get(deployed_name(endpoint, id))
    return found if found is not None and found.body["stage"] == READY else None


async def _parsed(call: Call, record: Record, response: httpx.Response) -> Response:
    """The container's answer with what Vertex AI adds, or its error in Google's shape."""
    try:
        content = await response.aread()
    except httpx.HTTPError as error:
        raise ApiError("UNAVAILABLE", f"The container broke off its answer: {error}") from None
    if response.is_error:
        code = response.status_code
        status = next((name for name, number in STATUSES.items() if number == code), "UNKNOWN")
        raise ApiError(status, content.decode(errors="replace"), code)
    try:
        found = json.loads(content)
        predictions = found["predictions"]
    except (ValueError, TypeError, KeyError):
        raise ApiError(
            "INTERNAL", "The container's answer is not JSON with `predictions`, as Vertex AI requires."
        ) from None
    model = record.body["deployedModel"]
    answer = {
        "predictions": predictions,
        "deployedModelId": model["id"],
        "model": model["model"],
        "modelDisplayName": _display_name(call, record),
        "modelVersionId": model["modelVersionId"],
    }
    return JSONResponse({**answer, **({"metadata": found["metadata"]} if "metadata" in found else {})})


def _display_name(call: Call, record: Record) -> str:
    model = call.world.get(record.body["model"])
    return str(model.body["displayName"]) if model is not None else ""


def _headers(endpoint: Record, record: Record) -> dict[str, str]:
    return {
        "X-Vertex-AI-Endpoint-Id": endpoint.name.rpartition("/")[2],
        "X-Vertex-AI-Deployed-Model-Id": record.name.rpartition("/")[2],
    }
