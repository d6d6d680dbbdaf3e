"""OpenAI's completions, chat completions and list of models."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from serve.api import bodies
from serve.api.answers import Answer, Whole, merged
from serve.api.middleware import outcome_of
from serve.api.openai_schemas import (
    DEFAULT_COMPLETION_TOKENS,
    ChatBody,
    ChatChoice,
    ChatCompletion,
    ChatMessage,
    Common,
    CompletionBody,
    CompletionChoice,
    Model,
    ModelList,
    OpenAIUsage,
    TextCompletion,
)
from serve.api.prompts import encode_chat
from serve.api.service import Ask, EventStream, Service, text_prompt
from serve.errors import ApiError

Body = TypeVar("Body", bound=Common)
DONE = "[DONE]"
"""What ends a stream of OpenAI's API."""
Chunk = Callable[[int, str | Whole], list[dict[str, Any]]]
"""From an answer's index and its next part to the choices of the chunks that say it."""


class OpenAI:
    """One method for each route, of the name that the contract gives it."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._model = Model(
            id=service.settings.model_name,
            created=int(time.time()),
            owned_by=service.settings.model_name.rpartition("/")[0] or "unknown",
        )

    async def models(self) -> Response:
        """The models that are served: one."""
        return JSONResponse(ModelList(data=[self._model]).model_dump())

    async def model(self, model: str) -> Response:
        """The model of this name."""
        self._check_model(model)
        return JSONResponse(self._model.model_dump())

    async def completions(self, request: Request) -> Response:
        """Continues one or several prompts."""
        wanted = await self._read(request, CompletionBody)
        usual = min(DEFAULT_COMPLETION_TOKENS, self._service.settings.max_new_tokens)
        limit = usual if wanted.max_tokens is None else wanted.max_tokens
        asks = [
            Ask(text_prompt(prompt), _samplings(wanted), max_new_tokens=limit) for prompt in wanted.prompts()
        ]
        identity = _identity("cmpl", "text_completion", self._model.id)
        if wanted.stream:
            return await self._stream(request, wanted, asks, identity, _text_chunk)
        answers, wholes = await self._service.answer(request, asks)
        choices = [
            CompletionChoice(index=index, text=whole.text, finish_reason=_reason(whole))
            for index, whole in enumerate(wholes)
        ]
        return JSONResponse(
            TextCompletion(**identity, choices=choices, usage=_usage(answers, wanted.choices)).model_dump()
        )

    async def chat_completions(self, request: Request) -> Response:
        """Continues a conversation by the model's chat template."""
        wanted = await self._read(request, ChatBody)
        messages = [message.plain() for message in wanted.messages]
        asks = [
            Ask(
                partial(encode_chat, messages=messages),
                _samplings(wanted),
                max_new_tokens=wanted.max_completion_tokens or wanted.max_tokens,
            )
        ]
        if wanted.stream:
            identity = _identity("chatcmpl", "chat.completion.chunk", self._model.id)
            return await self._stream(request, wanted, asks, identity, _ChatChunks())
        answers, wholes = await self._service.answer(request, asks)
        choices = [
            ChatChoice(index=index, message=ChatMessage(content=whole.text), finish_reason=_reason(whole))
            for index, whole in enumerate(wholes)
        ]
        identity = _identity("chatcmpl", "chat.completion", self._model.id)
        return JSONResponse(
            ChatCompletion(**identity, choices=choices, usage=_usage(answers, wanted.choices)).model_dump()
        )

    async def _read(self, request: Request, model: type[Body]) -> Body:
        bodies.media_type(request, (bodies.JSON,))
        body = await bodies.read_body(request, self._service.settings.max_batch_body_bytes)
        wanted = bodies.parse_json(body, model)
        self._check_model(wanted.model)
        return wanted

    def _check_model(self, name: str) -> None:
        if name != self._model.id:
            message = f"this server has no such model; it serves {self._model.id}"
            raise ApiError(404, "model_not_found", message, param="model")

    async def _stream(
        self, request: Request, wanted: Common, asks: Sequence[Ask], identity: dict[str, Any], chunk: Chunk
    ) -> Response:
        answers = await self._service.open(request, asks)
        usage = wanted.stream_options is not None and wanted.stream_options.include_usage
        events = _events(answers, identity, chunk, wanted.choices if usage else None)
        return EventStream(events, answers, _failed, outcome_of(request))


async def _events(
    answers: Sequence[Answer], identity: dict[str, Any], chunk: Chunk, usage_choices: int | None
) -> AsyncGenerator[str, None]:
    """The data of a stream's events; `usage_choices` is the answers per prompt where usage is wanted."""
    without_usage = {} if usage_choices is None else {"usage": None}
    async with aclosing(merged(answers)) as parts:
        async for index, part in parts:
            for choice in chunk(index, part):
                yield _json(identity | {"choices": [{"index": index, **choice}]} | without_usage)
    if usage_choices is not None:
        usage = _usage(answers, usage_choices).model_dump()
        yield _json(identity | {"choices": [], "usage": usage})
    yield DONE


def _text_chunk(_: int, part: str | Whole) -> list[dict[str, Any]]:
    if isinstance(part, str):
        return [{"text": part, "logprobs": None, "finish_reason": None}]
    return [{"text": "", "logprobs": None, "finish_reason": _reason(part)}]


class _ChatChunks:
    """The chunks of a chat's stream: each answer's first says who speaks."""

    def __init__(self) -> None:
        self._begun: set[int] = set()

    def __call__(self, index: int, part: str | Whole) -> list[dict[str, Any]]:
        chunks = []
        if index not in self._begun:
            self._begun.add(index)
            chunks.append(_delta({"role": "assistant", "content": ""}, None))
        if isinstance(part, str):
            return [*chunks, _delta({"content": part}, None)]
        return [*chunks, _delta({}, _reason(part))]


def _delta(delta: dict[str, str], reason: str | None) -> dict[str, Any]:
    return {"delta": delta, "logprobs": None, "finish_reason": reason}


def _samplings(wanted: Common) -> list[dict[str, Any]]:
    return [wanted.sampling(choice) for choice in range(wanted.choices)]


def _identity(prefix: str, kind: str, model: str) -> dict[str, Any]:
    return {
        "id": f"{prefix}-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
    }


def _usage(answers: Sequence[Answer], choices: int) -> OpenAIUsage:
    # A prompt counts once, however many answers it gets.
    prompt = sum(answer.prompt_tokens for answer in answers[::choices])
    generated = sum(answer.generated_tokens for answer in answers)
    return OpenAIUsage(prompt_tokens=prompt, completion_tokens=generated, total_tokens=prompt + generated)


def _reason(whole: Whole) -> Any:
    return whole.finish_reason.value


def _failed(error: ApiError) -> str:
    return _json(error.openai_body())


def _json(data: dict[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False)
