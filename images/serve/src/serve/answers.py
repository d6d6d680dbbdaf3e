"""An answer on its way to the client: whole, or piece by piece."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from serve.errors import CLIENT_LEFT, ApiError
from serve.generation import Failed, Finished, Piece
from serve.metrics import Metrics
from serve.scheduler import Ticket
from serve.schemas import Completion, Usage


class Answer:
    """The answer to one admitted request.

    Args:
        ticket: the request's place; given back by `close`.
        model: the name that clients see.
        prompt_tokens: length of the prompt.
        metrics: counts tokens and the time to the first text.
        outcome: takes figures for the log.
    """

    def __init__(
        self, ticket: Ticket, model: str, prompt_tokens: int, metrics: Metrics, outcome: dict[str, Any]
    ) -> None:
        self._ticket = ticket
        self._model = model
        self._metrics = metrics
        self._prompt_tokens = prompt_tokens
        self._outcome = outcome
        self._ended = False
        metrics.tokens.labels("prompt").inc(prompt_tokens)

    async def parts(self) -> AsyncIterator[str | Completion]:
        """The pieces of the text, then the whole.

        Raises:
            ApiError: 500, the engine failed; 503, the server gave the request up.
        """
        pieces: list[str] = []
        async for event in self._ticket.events():
            if isinstance(event, Piece):
                if not pieces:
                    self._metrics.first_token.observe(time.monotonic() - self._ticket.started)
                pieces.append(event.text)
                yield event.text
            elif isinstance(event, Finished):
                self._ended = True
                yield self._finish("".join(pieces), event)
            elif isinstance(event, Failed):
                self._ended = True
                raise _failure(event)

    async def complete(self) -> Completion:
        """The whole answer; raises as `parts` does."""
        async for part in self.parts():
            if isinstance(part, Completion):
                return part
        raise AssertionError("an answer ends with a Completion or an ApiError")

    def close(self) -> None:
        """Gives the place back; an answer that has not ended was left by its client and is given up."""
        if not self._ended:
            self.log(status=CLIENT_LEFT)
        self._ticket.close()

    def log(self, **figures: object) -> None:
        """Leaves figures for the request's log line."""
        self._outcome.update(figures)

    def _finish(self, text: str, event: Finished) -> Completion:
        self._metrics.tokens.labels("generated").inc(event.generated_tokens)
        usage = Usage(prompt_tokens=self._prompt_tokens, generated_tokens=event.generated_tokens)
        self.log(**usage.model_dump(), finish_reason=event.reason)
        return Completion(model=self._model, generated_text=text, finish_reason=event.reason, usage=usage)


class AnswerStream(StreamingResponse):
    """Server-sent events of one answer; gives its place back however the response ends."""

    def __init__(self, answer: Answer) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(_events(answer), media_type="text/event-stream", headers=headers)
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the events. The place is given back here: an iterator that never started cannot do it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._answer.close()


async def _events(answer: Answer) -> AsyncIterator[str]:
    try:
        async for part in answer.parts():
            if isinstance(part, Completion):
                yield _event({"done": True} | part.model_dump(mode="json"))
            else:
                yield _event({"token": part})
    except ApiError as error:
        answer.log(status=error.status)
        yield _event(error.body())


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"


def _failure(event: Failed) -> ApiError:
    if event.engine_fault:
        return ApiError(500, "generation_failed", "the model could not answer; the server's log says more")
    return ApiError(503, "shutting_down", event.message, retry_after=1)
