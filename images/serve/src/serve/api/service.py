"""From checked requests to running answers: what all routes that generate have in common."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from serve.api.answers import Answer, Whole, client_left, until_left
from serve.api.middleware import Outcome, outcome_of
from serve.api.prompts import Truncate, fit, new_tokens
from serve.engines.base import (
    Capabilities,
    Engine,
    EngineUnavailableError,
    GenerateRequest,
    QueueFullError,
    UnsupportedError,
)
from serve.errors import CLIENT_LEFT, ApiError
from serve.health import Host
from serve.metrics import Metrics
from serve.queueing import Gate, Place
from serve.settings import Settings

TAKE_SECONDS = 60
"""Longest that a client may leave a piece of a stream unread, so that it keeps no place for nothing."""
Encode = Callable[[Engine, Capabilities], list[int]]


@dataclass(frozen=True, slots=True)
class Ask:
    """One prompt and the answers that are wanted to it."""

    encode: Encode
    """Makes the prompt's tokens; called off the event loop, since a long prompt takes milliseconds."""
    samplings: Sequence[dict[str, Any]] = field(default=({},))
    """The sampling fields of each answer's `GenerateRequest`."""
    max_new_tokens: int | None = None
    truncate: Truncate = "never"


def text_prompt(text: str) -> Encode:
    """Makes the tokens of a text."""
    return lambda engine, _: engine.encode(text)


@dataclass(frozen=True, slots=True)
class Service:
    """What the routes work with."""

    settings: Settings
    gate: Gate
    host: Host
    metrics: Metrics

    async def answer(
        self, request: Request, asks: Sequence[Ask], timeout: float | None = None
    ) -> tuple[list[Answer], list[Whole]]:
        """The complete answers, in the order of asks and samplings; gives up when the client leaves.

        Raises:
            ApiError: as `open` and `Answer.parts` do.
        """
        answers = await self.open(request, asks, timeout)
        try:
            everything = asyncio.gather(*(answer.complete() for answer in answers))
            return answers, await until_left(request.receive, everything)
        finally:
            for answer in answers:
                answer.close()

    async def open(self, request: Request, asks: Sequence[Ask], timeout: float | None = None) -> list[Answer]:
        """Admits a request, checks it against the limits and queues it; the answers must be closed.

        Args:
            request: takes the answers for its log line.
            asks: the prompts and what is wanted of each.
            timeout: the client's own deadline in seconds.

        Raises:
            ApiError: 422, over a limit or empty; 429, full; 503, not ready.
        """
        engine, capabilities = self.host.engine, self.host.capabilities
        places = self.gate.admit(sum(len(ask.samplings) for ask in asks), timeout)
        try:
            prompts = await asyncio.to_thread(_encode, engine, capabilities, asks)
            wanted = [
                (ask, sampling, ids)
                for ask, ids in zip(asks, prompts, strict=True)
                for sampling in ask.samplings
            ]
            requests = [self._request(*each, place) for each, place in zip(wanted, places, strict=True)]
            answers = [
                self._submit(engine, *each)
                for each in zip(requests, places, (w[2] for w in wanted), strict=True)
            ]
        except BaseException:
            for place in places:
                place.close()
            raise
        outcome_of(request).answers = answers
        return answers

    def _request(self, ask: Ask, sampling: dict[str, Any], ids: list[int], place: Place) -> GenerateRequest:
        special = self.host.special_ids
        if ids == special:
            # Blanks are found earlier; this is what a tokenizer leaves nothing of.
            raise ApiError(422, "invalid_request", "the prompt is empty")
        prompt = fit(ids, special, self.settings.max_input_tokens, ask.truncate)
        context = self.host.capabilities.context_tokens
        limit = new_tokens(len(prompt), ask.max_new_tokens, self.settings.max_new_tokens, context)
        return GenerateRequest(
            id=uuid.uuid4().hex, prompt_ids=prompt, max_new_tokens=limit, deadline=place.deadline, **sampling
        )

    def _submit(self, engine: Engine, request: GenerateRequest, place: Place, ids: list[int]) -> Answer:
        place.check()
        try:
            stream = engine.submit(request)
        except QueueFullError as error:
            raise ApiError(429, "queue_full", str(error), retry_after=1) from None
        except UnsupportedError as error:
            raise ApiError(422, "invalid_request", str(error)) from None
        except EngineUnavailableError as error:
            raise ApiError(503, "engine_unavailable", str(error), retry_after=5) from None
        place.on_release = lambda: engine.cancel(request.id)
        cut = len(ids) - len(request.prompt_ids)
        return Answer(place, stream, len(request.prompt_ids), cut, self.host, self.metrics)


class EventStream(Response):
    """Server-sent events. Gives the answers up when the client leaves, also before there is anything to send.

    https://html.spec.whatwg.org/multipage/server-sent-events.html

    Args:
        events: the data of each event.
        answers: closed however the response ends: an iterator that never started cannot do it.
        failed: the data of the event that ends a stream which cannot be completed.
        outcome: takes the status of such a stream.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncGenerator[str, None],
        answers: Sequence[Answer],
        failed: Callable[[ApiError], str],
        outcome: Outcome,
    ) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._events = events
        self._answers = answers
        self._failed = failed
        self._outcome = outcome

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Sends the events."""
        try:
            await until_left(receive, self._send_all(send))
        except ApiError as error:
            self._outcome.status = error.status
        finally:
            for answer in self._answers:
                answer.close()

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        try:
            # Closed at once when the client leaves, not when the collector finds it: it has tasks of its own.
            async with aclosing(self._events) as events:
                async for data in events:
                    await _send(send, data)
        except ApiError as error:
            if error.status == CLIENT_LEFT:
                raise
            self._outcome.status = error.status
            await _send(send, self._failed(error))
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _send(send: Send, data: str) -> None:
    body = f"data: {data}\n\n".encode()
    try:
        async with asyncio.timeout(TAKE_SECONDS):
            await send({"type": "http.response.body", "body": body, "more_body": True})
    except TimeoutError:
        raise client_left() from None


def _encode(engine: Engine, capabilities: Capabilities, asks: Sequence[Ask]) -> list[list[int]]:
    """The tokens of each ask's prompt."""
    return [ask.encode(engine, capabilities) for ask in asks]
