"""What the server's own OpenAPI page says of each route: bodies, answers, refusals, with examples."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from serve.api.openai_schemas import (
    ChatBody,
    ChatCompletion,
    CompletionBody,
    Model,
    ModelList,
    OpenAIErrorBody,
    TextCompletion,
)
from serve.api.schemas import (
    Completion,
    ErrorBody,
    GenerateBody,
    PredictBody,
    Prediction,
    State,
    VertexBody,
    VertexPredictions,
)
from serve.errors import ApiError

BODIES: tuple[type[BaseModel], ...] = (PredictBody, VertexBody, GenerateBody, CompletionBody, ChatBody)
ANSWERS: tuple[type[BaseModel], ...] = (Prediction, VertexPredictions)
REFUSALS = (
    (
        ApiError(400, "invalid_json", "the body is not JSON: expected value at line 1 column 1"),
        "Not UTF-8, not JSON",
    ),
    (
        ApiError(408, "body_too_slow", "the body was not complete within 60 seconds"),
        "The client sends too slowly",
    ),
    (ApiError(413, "body_too_large", "the body is larger than 98304 bytes"), "The body is too large"),
    (
        ApiError(415, "unsupported_media_type", "send the header Content-Type: application/json"),
        "Another media type, charset or encoding",
    ),
    (
        ApiError(422, "prompt_too_long", "the prompt has 600 tokens, the limit is 512; shorten it"),
        "A value is wrong or over a limit",
    ),
    (
        ApiError(429, "queue_full", "16 of 16 places are taken: ask again later", retry_after=2),
        "As many requests as the server holds are being answered",
    ),
    (
        ApiError(
            500, "generation_failed", "the model could not answer this request; the server's log says more"
        ),
        "The model failed on this request",
    ),
    (
        ApiError(503, "loading", "the model is still loading", retry_after=5),
        "Loading, shutting down, or dead",
    ),
    (
        ApiError(
            504, "deadline_exceeded", "the answer was not complete within 300 seconds: ask for fewer tokens"
        ),
        "The request's deadline passed",
    ),
)
_WRONG_OPENAI = ApiError(400, "invalid_request", "temperature: input should be less than or equal to 2")
_NO_MODEL = ApiError(
    404, "model_not_found", "this server has no such model; it serves owner/name", param="model"
)
_RETRY_AFTER = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait."}}
_TEXT: dict[str, Any] = {"schema": {"type": "string"}}
_EVENT = {"type": "object", "required": ["data"], "properties": {"data": {"type": "string"}}}
"""One event of a stream, in the place that OpenAPI 3.2 and FastAPI's own descriptions have for it."""


def descriptions() -> dict[str, dict[str, Any]]:
    """The arguments of FastAPI's `add_api_route` for each route, by the name that the contract gives it."""
    states = {200: {"model": State}, 503: {"model": State, "description": "Not so"}}
    missing = {404: _refusal(_NO_MODEL, "No such model", openai=True)}
    return {
        "predict": {
            "tags": ["text"],
            "responses": {200: _predicted(), **_refusals()},
            "openapi_extra": _body(
                {"text/plain": _TEXT | {"example": "Tell me a joke"}}, PredictBody, VertexBody
            ),
        },
        "generate": {
            "tags": ["text"],
            "responses": {200: _answer(Completion, '{"token": "Why"}'), **_refusals()},
            "openapi_extra": _body({}, GenerateBody),
        },
        "completions": {
            "tags": ["OpenAI"],
            "responses": {
                200: _answer(TextCompletion, '{"object": "text_completion", …}'),
                **_openai_refusals(),
            },
            "openapi_extra": _body({}, CompletionBody),
        },
        "chat_completions": {
            "tags": ["OpenAI"],
            "responses": {
                200: _answer(ChatCompletion, '{"object": "chat.completion.chunk", …}'),
                **_openai_refusals(),
            },
            "openapi_extra": _body({}, ChatBody),
        },
        "models": {"tags": ["OpenAI"], "responses": {200: {"model": ModelList}}},
        "model": {"tags": ["OpenAI"], "responses": {200: {"model": Model}, **missing}},
        "health": {"tags": ["probes"], "responses": states},
        "ready": {"tags": ["probes"], "responses": states},
        "metrics": {"tags": ["probes"], "responses": {200: {"content": {"text/plain": _TEXT}}}},
    }


def describe(app: FastAPI) -> None:
    """Lets the application's description hold the models of bodies that handlers read themselves."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            page = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
            models = [(model, "validation") for model in (*BODIES, *ANSWERS)]
            _, extra = models_json_schema(models, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
            known = page["components"]["schemas"]
            page["components"]["schemas"] = extra["$defs"] | known
            app.openapi_schema = page
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _schema(*models: type[BaseModel]) -> dict[str, Any]:
    refs = [_ref(model) for model in models]
    return {"schema": refs[0] if len(refs) == 1 else {"oneOf": refs}}


def _body(others: dict[str, Any], *models: type[BaseModel]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": others | {"application/json": _schema(*models)}}}


def _predicted() -> dict[str, Any]:
    content = {"application/json": _schema(Prediction, VertexPredictions), "text/plain": _TEXT}
    return {"description": "The answer, in the form of the request", "content": content}


def _answer(model: type[BaseModel], event: str) -> dict[str, Any]:
    stream = {"itemSchema": _EVENT, "example": f"data: {event}\n\n"}
    return {"model": model, "description": "The answer", "content": {"text/event-stream": stream}}


def _refusal(error: ApiError, meaning: str, *, openai: bool) -> dict[str, Any]:
    body = error.openai_body() if openai else error.body()
    refusal: dict[str, Any] = {
        "model": OpenAIErrorBody if openai else ErrorBody,
        "description": meaning,
        "content": {"application/json": {"example": body}},
    }
    return refusal | ({"headers": _RETRY_AFTER} if "Retry-After" in error.headers else {})


def _refusals() -> dict[int, dict[str, Any]]:
    return {error.status: _refusal(error, meaning, openai=False) for error, meaning in REFUSALS}


def _openai_refusals() -> dict[int, dict[str, Any]]:
    others = {e.status: _refusal(e, meaning, openai=True) for e, meaning in REFUSALS if e.status != 422}
    wrong = _refusal(_WRONG_OPENAI, "Not JSON, or a value is wrong or over a limit", openai=True)
    missing = _refusal(_NO_MODEL, "No such model", openai=True)
    return others | {400: wrong, 404: missing}
