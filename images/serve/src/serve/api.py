"""The HTTP routes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from serve import __version__, contract, requests
from serve.answers import Answer, AnswerStream
from serve.errors import CLIENT_LEFT, ApiError
from serve.metrics import Metrics
from serve.middleware import OUTCOME, RequestLog
from serve.scheduler import Scheduler
from serve.schemas import Completion, ErrorBody, GenerateRequest, Prediction, PredictRequest, State
from serve.settings import Settings


class Handlers:
    """One method for each route of the contract, of the same name.

    Args:
        settings: limits and the model's name.
        scheduler: admits requests and runs them.
        metrics: counts tokens.
    """

    def __init__(self, settings: Settings, scheduler: Scheduler, metrics: Metrics) -> None:
        self._settings = settings
        self._scheduler = scheduler
        self._metrics = metrics

    async def predict(self, request: Request) -> Response:
        """Text in, text out; or JSON in, JSON out."""
        kind = requests.media_type(request, (requests.TEXT, requests.JSON))
        body = await requests.read_body(request, self._settings.max_body_bytes)
        if kind == requests.JSON:
            completion = await self._complete(request, requests.parse_json(body, PredictRequest))
            return JSONResponse(Prediction(generated_text=completion.generated_text).model_dump())
        try:
            parameters = PredictRequest(prompt=requests.parse_text(body))
        except ValidationError as error:
            raise requests.invalid(error) from None
        return PlainTextResponse((await self._complete(request, parameters)).generated_text)

    async def generate(self, request: Request) -> Response:
        """JSON in; out JSON, or server-sent events where `stream` is true.

        Each event is `data: {"token": "…"}`; the last is `data: {"done": true, …}` with the whole answer,
        or `data: {"error": {…}}`. The tokens joined are the whole answer.
        """
        requests.media_type(request, (requests.JSON,))
        body = await requests.read_body(request, self._settings.max_body_bytes)
        parameters = requests.parse_json(body, GenerateRequest)
        if not parameters.stream:
            return JSONResponse((await self._complete(request, parameters)).model_dump(mode="json"))
        return AnswerStream(await self._start(request, parameters))

    async def health(self) -> Response:
        """200 while the process is well, loading included; 503 when only a restart helps."""
        if self._scheduler.death is not None:
            return _state(503, "dead", self._scheduler.death)
        return _state(200, "ok")

    async def ready(self) -> Response:
        """200 when the model answers, else 503."""
        if self._scheduler.ready:
            return _state(200, "ready")
        return _state(503, "dead" if self._scheduler.death else "loading", self._scheduler.death or "")

    async def metrics(self) -> Response:
        """Prometheus metrics."""
        return Response(generate_latest(self._metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def _start(self, request: Request, parameters: PredictRequest) -> Answer:
        """Admits a request, checks it against the limits and queues it. The answer must be closed."""
        ticket = self._scheduler.admit()
        try:
            prompt_ids = await self._scheduler.encode(parameters.prompt)
            sampling = parameters.sampling(self._limit(len(prompt_ids), parameters.max_new_tokens))
            self._scheduler.submit(ticket, prompt_ids, sampling)
        except BaseException:
            ticket.close()
            raise
        return Answer(
            ticket, self._settings.model_name, len(prompt_ids), self._metrics, request.scope[OUTCOME]
        )

    async def _complete(self, request: Request, parameters: PredictRequest) -> Completion:
        """The whole answer; gives it up when the client leaves."""
        answer = await self._start(request, parameters)
        completion = asyncio.ensure_future(answer.complete())
        left = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait({completion, left}, return_when=asyncio.FIRST_COMPLETED)
            if not completion.done():
                raise ApiError(CLIENT_LEFT, "client_left", "the client left before the answer was complete")
            return completion.result()
        finally:
            completion.cancel()
            left.cancel()
            answer.close()

    def _limit(self, prompt_tokens: int, wanted: int | None) -> int:
        """The number of new tokens a request gets at most.

        Raises:
            ApiError: 422, prompt or number are over a limit. Nothing is cut silently.
        """
        most_input, most_new = self._settings.max_input_tokens, self._settings.max_new_tokens
        if prompt_tokens > most_input:
            message = f"the prompt has {prompt_tokens} tokens, the limit is {most_input}; shorten it"
            raise ApiError(422, "prompt_too_long", message)
        if wanted is not None and wanted > most_new:
            raise ApiError(422, "invalid_request", f"max_new_tokens is {wanted}, the limit is {most_new}")
        context = self._scheduler.info.context_tokens if self._scheduler.info else None
        room = most_new if context is None else context - prompt_tokens
        if room < (wanted or 1):
            message = (
                f"prompt ({prompt_tokens} tokens) and max_new_tokens ({wanted or 1}) "
                f"exceed the model's context of {context} tokens"
            )
            raise ApiError(422, "context_exceeded", message)
        return wanted or min(room, most_new)


def create_app(settings: Settings, scheduler: Scheduler, on_death: Callable[[], None]) -> FastAPI:
    """Builds the application; its routes are those of the contract.

    Args:
        settings: the server's settings.
        scheduler: not yet started; it is started when the application starts.
        on_death: called when the engine will answer nothing any more.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        scheduler.start(on_death)
        yield

    app = FastAPI(title="serve", version=__version__, summary=settings.model_name, lifespan=lifespan)
    metrics = Metrics(scheduler)
    handlers = Handlers(settings, scheduler, metrics)
    for name, route in contract.load().routes.items():
        app.add_api_route(
            route.path, getattr(handlers, name), methods=[route.method], name=name, **DESCRIPTIONS[name]
        )
    app.add_exception_handler(ApiError, _refuse)
    app.add_exception_handler(HTTPException, _refuse_http)
    app.add_exception_handler(Exception, _refuse_unexpected)
    app.add_middleware(RequestLog, metrics=metrics)
    return app


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _refuse(_: Request, error: Any) -> Response:
    return JSONResponse(error.body(), error.status, error.headers)


async def _refuse_http(_: Request, error: Any) -> Response:
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    return JSONResponse(
        ApiError(error.status_code, code, error.detail).body(), error.status_code, error.headers
    )


async def _refuse_unexpected(request: Request, _: Exception) -> Response:
    return await _refuse(
        request, ApiError(500, "internal_error", "the server made a mistake; its log says more")
    )


def _state(status: int, text: str, detail: str = "") -> Response:
    return JSONResponse(State(status=text, detail=detail).model_dump(), status)


def _content(*kinds: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    return {"content": {kind: {"schema": schema} for kind, schema in kinds}}


_TEXT: dict[str, Any] = {"type": "string"}
_REFUSALS: dict[int | str, dict[str, Any]] = {
    code: {"model": ErrorBody} for code in (400, 413, 415, 422, 429, 500, 503)
}
DESCRIPTIONS: dict[str, dict[str, Any]] = {
    "predict": {
        "responses": {200: {"model": Prediction, **_content(("text/plain", _TEXT))}, **_REFUSALS},
        "openapi_extra": {
            "requestBody": {
                "required": True,
                **_content(("text/plain", _TEXT), ("application/json", PredictRequest.model_json_schema())),
            }
        },
    },
    "generate": {
        "responses": {200: {"model": Completion, **_content(("text/event-stream", _TEXT))}, **_REFUSALS},
        "openapi_extra": {
            "requestBody": {
                "required": True,
                **_content(("application/json", GenerateRequest.model_json_schema())),
            }
        },
    },
    "health": {"responses": {200: {"model": State}, 503: {"model": State}}},
    "ready": {"responses": {200: {"model": State}, 503: {"model": State}}},
    "metrics": {"responses": {200: _content(("text/plain", _TEXT))}, "response_class": PlainTextResponse},
}
