"""One answer on its way from the engine to the client, with what is counted and refused on the way."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.types import Receive

from serve.engines.base import (
    EngineUnavailableError,
    FinishReason,
    GenerationFailedError,
    TokenEvent,
    TokenStream,
)
from serve.errors import CLIENT_LEFT, ApiError
from serve.health import Host, engine_dead
from serve.metrics import Metrics
from serve.queueing import Place, late, shutting_down

LOG = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Whole:
    """A complete answer."""

    text: str
    finish_reason: FinishReason


class Answer:
    """The answer to one admitted prompt; closes its place when it ends, or when `close` is called.

    Args:
        place: the request's place.
        stream: the engine's events.
        prompt_tokens: length of the prompt, as the model reads it.
        truncated_tokens: what was cut off it.
        host: told whether the engine answered.
        metrics: counts tokens and times.
    """

    def __init__(
        self,
        place: Place,
        stream: TokenStream,
        prompt_tokens: int,
        truncated_tokens: int,
        host: Host,
        metrics: Metrics,
    ) -> None:
        self._place = place
        self._stream = stream
        self._host = host
        self._metrics = metrics
        self._last_token: float | None = None
        self.prompt_tokens = prompt_tokens
        self.truncated_tokens = truncated_tokens
        self.generated_tokens = 0
        self.finish_reason: FinishReason | None = None
        self.first_token_seconds: float | None = None
        metrics.tokens.labels("prompt").inc(prompt_tokens)

    async def parts(self) -> AsyncGenerator[str | Whole, None]:
        """The pieces of the text, none empty, then the whole.

        Raises:
            ApiError: 500, the engine failed; 503, the server gave the request up; 504, its deadline passed.
        """
        pieces: list[str] = []
        try:
            while True:
                event = await self._next()
                self._count(event)
                if event.text:
                    pieces.append(event.text)
                    yield event.text
                if event.finish is not None:
                    self.finish_reason = event.finish
                    yield Whole("".join(pieces), self._ended(event.finish))
                    return
        finally:
            self.close()

    async def complete(self) -> Whole:
        """The whole answer; raises as `parts` does."""
        async with aclosing(self.parts()) as parts:
            async for part in parts:
                if isinstance(part, Whole):
                    return part
        raise AssertionError("an answer ends with a Whole or an ApiError")

    def close(self) -> None:
        """Gives the place back; an answer that has not ended is given up."""
        self._place.close()

    async def _next(self) -> TokenEvent:
        try:
            return await self._place.wait(self._stream.__anext__)
        except GenerationFailedError as error:
            LOG.exception("generation failed")
            self._host.note_failure(self._place.started)
            message = "the model could not answer this request; the server's log says more"
            raise ApiError(500, "generation_failed", message) from error
        except EngineUnavailableError as error:
            if self._host.death is None:
                raise shutting_down() from error
            raise engine_dead() from error

    def _count(self, event: TokenEvent) -> None:
        self.generated_tokens = max(self.generated_tokens, event.generated_tokens)
        if event.token_id is None:
            return
        now = time.monotonic()
        self._metrics.tokens.labels("generated").inc()
        if self._last_token is None:
            self.first_token_seconds = now - self._place.started
            self._metrics.first_token.observe(self.first_token_seconds)
        else:
            self._metrics.token_seconds.observe(now - self._last_token)
        self._last_token = now

    def _ended(self, reason: FinishReason) -> FinishReason:
        if reason is FinishReason.DEADLINE:
            raise late(self._place.deadline - self._place.started)
        if reason is FinishReason.CANCELLED:
            raise client_left()
        self._host.note_answer()
        return reason


async def merged(answers: Sequence[Answer]) -> AsyncGenerator[tuple[int, str | Whole], None]:
    """The parts of several answers, each with its answer's index, as they come.

    Raises as `parts` does, as soon as one of them does: the others are given up.
    """
    queue: asyncio.Queue[tuple[int, str | Whole] | Exception] = asyncio.Queue(maxsize=64)

    async def pump(index: int, answer: Answer) -> None:
        try:
            async with aclosing(answer.parts()) as parts:
                async for part in parts:
                    await queue.put((index, part))
        except Exception as error:
            await queue.put(error)

    pumps = [asyncio.ensure_future(pump(*numbered)) for numbered in enumerate(answers)]
    try:
        under_way = len(answers)
        while under_way:
            found = await queue.get()
            if isinstance(found, Exception):
                raise found
            yield found
            under_way -= isinstance(found[1], Whole)
    finally:
        for task in pumps:
            task.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


async def until_left(receive: Receive, work: Awaitable[T]) -> T:
    """The result of `work`, which is given up when the client leaves.

    Raises:
        ApiError: 499, the client left.
    """
    task = asyncio.ensure_future(work)
    left = asyncio.ensure_future(_disconnected(receive))
    try:
        either: set[asyncio.Future[Any]] = {task, left}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise client_left()
        return task.result()
    finally:
        left.cancel()
        task.cancel()
        await asyncio.gather(task, left, return_exceptions=True)


def client_left() -> ApiError:
    """Stands in the log where nobody was there to be answered."""
    return ApiError(CLIENT_LEFT, "client_left", "the client left before the answer was complete")


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
