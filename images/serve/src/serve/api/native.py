"""`/predict` and `/generate`: the server's own form, and Vertex AI's."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi import Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import ValidationError

from serve.api import bodies
from serve.api.answers import Answer, Whole
from serve.api.middleware import outcome_of
from serve.api.schemas import (
    Completion,
    GenerateBody,
    Parameters,
    PredictBody,
    Prediction,
    Usage,
    VertexBody,
    VertexPredictions,
)
from serve.api.service import Ask, EventStream, Service, text_prompt
from serve.errors import ApiError


class Native:
    """One method for each route, of the name that the contract gives it."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def predict(self, request: Request) -> Response:
        """Text in, text out; JSON in, JSON out; Vertex AI's instances in, predictions out."""
        kind = bodies.media_type(request, (bodies.TEXT, bodies.JSON))
        settings = self._service.settings
        limit = settings.max_body_bytes if kind == bodies.TEXT else settings.max_batch_body_bytes
        body = await bodies.read_body(request, limit)
        if kind == bodies.TEXT:
            return PlainTextResponse(await self._text(request, _plain(body)))
        if bodies.has_field(body, "instances"):
            return JSONResponse((await self._predictions(request, body)).model_dump())
        parameters = bodies.parse_json(body, PredictBody)
        return JSONResponse(Prediction(generated_text=await self._text(request, parameters)).model_dump())

    async def generate(self, request: Request) -> Response:
        """JSON in; out JSON, or server-sent events where `stream` is true.

        Each event is `data: {"token": "…"}`; the last is `data: {"done": true, …}` with the whole answer,
        or `data: {"error": {…}}`. The tokens joined are the whole answer.
        """
        bodies.media_type(request, (bodies.JSON,))
        body = await bodies.read_body(request, self._service.settings.max_body_bytes)
        wanted = bodies.parse_json(body, GenerateBody)
        asks = [_ask(wanted.prompt, wanted)]
        if not wanted.stream:
            (answer,), (whole,) = await self._service.answer(request, asks, wanted.timeout_seconds)
            return JSONResponse(self._completion(answer, whole).model_dump(mode="json"))
        answers = await self._service.open(request, asks, wanted.timeout_seconds)
        return EventStream(self._events(answers[0]), answers, _failed, outcome_of(request))

    async def _text(self, request: Request, wanted: PredictBody) -> str:
        _, (whole,) = await self._service.answer(
            request, [_ask(wanted.prompt, wanted)], wanted.timeout_seconds
        )
        return whole.text

    async def _predictions(self, request: Request, body: bytes) -> VertexPredictions:
        wanted = bodies.parse_json(body, VertexBody)
        parameters = wanted.parameters or Parameters()
        asks = [_ask(prompt, parameters) for prompt in wanted.prompts()]
        _, wholes = await self._service.answer(request, asks, parameters.timeout_seconds)
        return VertexPredictions(predictions=[whole.text for whole in wholes])

    async def _events(self, answer: Answer) -> AsyncGenerator[str, None]:
        async with aclosing(answer.parts()) as parts:
            async for part in parts:
                if isinstance(part, str):
                    yield json.dumps({"token": part}, ensure_ascii=False)
                else:
                    whole = self._completion(answer, part).model_dump(mode="json")
                    yield json.dumps({"done": True} | whole, ensure_ascii=False)

    def _completion(self, answer: Answer, whole: Whole) -> Completion:
        return Completion(
            model=self._service.settings.model_name,
            generated_text=whole.text,
            finish_reason=whole.finish_reason,
            usage=Usage(
                prompt_tokens=answer.prompt_tokens,
                generated_tokens=answer.generated_tokens,
                truncated_tokens=answer.truncated_tokens,
            ),
        )


def _ask(prompt: str, parameters: Parameters) -> Ask:
    return Ask(
        encode=text_prompt(prompt),
        samplings=[parameters.sampling()],
        max_new_tokens=parameters.max_new_tokens,
        truncate=parameters.truncate,
    )


def _plain(body: bytes) -> PredictBody:
    try:
        return PredictBody(prompt=bodies.parse_text(body))
    except ValidationError as error:
        raise bodies.invalid(error) from None


def _failed(error: ApiError) -> str:
    return json.dumps(error.body(), ensure_ascii=False)
