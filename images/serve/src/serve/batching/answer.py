"""The engine's side of one request: takes tokens, gives events to the event loop that reads them.

Decoding, stop strings, limits, deadlines and cancellation are here, so they are the same in every engine and
whatever else is in the batch.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Sequence

from serve.engines.base import EngineError, FinishReason, GenerateRequest, TokenEvent, TokenStream
from serve.text import StopStrings, TokenText

Decode = Callable[[Sequence[int]], str]


class Answer:
    """Takes a request's tokens, on any thread, until it is complete; exactly one end is delivered, last.

    Args:
        request: the request.
        decode: token ids to text, special tokens left out.
        end_ids: the tokens that end an answer.
        deliver: takes the events, or the error that ends them, on whatever thread they arise.
    """

    def __init__(
        self,
        request: GenerateRequest,
        decode: Decode,
        end_ids: frozenset[int],
        deliver: Callable[[TokenEvent | EngineError], None],
    ) -> None:
        self.request = request
        self.most_tokens = len(request.prompt_ids) + request.max_new_tokens
        """Of prompt and answer together."""
        self.arrived = time.monotonic()
        self.generated = 0
        self._text = TokenText(decode)
        self._stops = StopStrings(request.stop)
        self._end_ids = end_ids
        self._deliver = deliver
        self._ended = False
        # One thread pushes tokens; another may cancel between a token's text and its end.
        self._lock = threading.Lock()

    @property
    def ended(self) -> bool:
        """Whether the last event has been delivered; an engine drops the request then."""
        return self._ended

    def push(self, token_id: int) -> bool:
        """Takes the next token; returns whether the answer has ended, by this token or before."""
        with self._lock:
            if not self._ended:
                self._accept(token_id)
            return self._ended

    def finish(self, reason: FinishReason) -> None:
        """Ends the answer where it is, with the text that was held back. Does nothing if it has ended."""
        with self._lock:
            if not self._ended:
                self._close(reason)

    def fail(self, error: EngineError) -> None:
        """Ends the answer with an error. Does nothing if it has ended."""
        with self._lock:
            if not self._ended:
                self._ended = True
                self._deliver(error)

    def expire(self, now: float) -> bool:
        """Ends the answer if its deadline has passed; returns whether it has ended, by this or before.

        Args:
            now: `time.monotonic()`.
        """
        if self.request.deadline is not None and now >= self.request.deadline:
            self.finish(FinishReason.DEADLINE)
        return self._ended

    def _accept(self, token_id: int) -> None:
        if token_id in self._end_ids:
            self._close(FinishReason.STOP)
            return
        self.generated += 1
        shown, stopped = self._stops.feed(self._text.push(token_id))
        if stopped:
            self._end(shown, FinishReason.STOP, token_id)
        elif self.generated >= self.request.max_new_tokens:
            self._close(FinishReason.LENGTH, shown, token_id)
        else:
            self._deliver(TokenEvent(shown, token_id, None, self.generated))

    def _close(self, reason: FinishReason, shown: str = "", token_id: int | None = None) -> None:
        rest, stopped = self._stops.feed(self._text.flush())
        text = shown + rest + ("" if stopped else self._stops.flush())
        self._end(text, FinishReason.STOP if stopped else reason, token_id)

    def _end(self, text: str, reason: FinishReason, token_id: int | None) -> None:
        self._ended = True
        self._deliver(TokenEvent(text, token_id, reason, self.generated))


class QueueStream(TokenStream):
    """The events of one request, handed from the engine's thread to the loop that made the stream."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[TokenEvent | EngineError] = asyncio.Queue()
        self._over = False
        self.answer: Answer | None = None
        """What `aclose` gives up; set by the engine that made the stream."""

    def deliver(self, event: TokenEvent | EngineError) -> None:
        """Takes an event, on any thread."""
        # The loop may be closed while the engine still runs: nobody listens then.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    async def __anext__(self) -> TokenEvent:
        """The next event; raises what ended the answer, and `StopAsyncIteration` after the last."""
        if self._over:
            raise StopAsyncIteration
        event = await self._events.get()
        if isinstance(event, EngineError):
            self._over = True
            raise event
        self._over = event.finish is not None
        return event

    async def aclose(self) -> None:
        """Gives the request up if it has not ended."""
        self._over = True
        if self.answer is not None:
            self.answer.finish(FinishReason.CANCELLED)
