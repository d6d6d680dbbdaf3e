"""One request on its way through an engine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from serve.text import StopStrings, TokenText


class Reason(StrEnum):
    """Why an answer ended."""

    STOP = "stop"
    """The model's end token, or one of the request's stop strings."""
    LENGTH = "length"
    """The request's limit of new tokens."""
    CANCELLED = "cancelled"
    """Nobody waits for the answer any more."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen, all values checked. None leaves a value to the model's own generation config."""

    max_new_tokens: int
    do_sample: bool = False
    """False takes the likeliest token at every step."""
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """More text of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The answer is complete."""

    reason: Reason
    generated_tokens: int
    """Tokens that the model chose, its end token not counted."""


@dataclass(frozen=True, slots=True)
class Failed:
    """There will be no (more) answer."""

    message: str
    engine_fault: bool
    """False when the request was given up for another reason, such as a shutdown."""


Event = Piece | Finished | Failed


class Generation:
    """What an engine sees of a request: the prompt's tokens, the sampling, and where each new token goes.

    An engine calls `push` for every token until it returns True. Anybody may call `cancel` or `abort` at any
    time, from any thread. Exactly one `Finished` or `Failed` is delivered, last.

    Args:
        prompt_ids: the prompt as tokens, special tokens included.
        sampling: how tokens are chosen.
        decode: token ids to text, special tokens left out.
        end_ids: the tokens that end an answer.
        deliver: takes the events, on whatever thread they arise.
    """

    def __init__(
        self,
        prompt_ids: Sequence[int],
        sampling: Sampling,
        decode: Callable[[Sequence[int]], str],
        end_ids: frozenset[int],
        deliver: Callable[[Event], None],
    ) -> None:
        self.prompt_ids = prompt_ids
        self.sampling = sampling
        self._text = TokenText(decode)
        self._stops = StopStrings(sampling.stop)
        self._end_ids = end_ids
        self._deliver = deliver
        self._generated = 0
        self._cancelled = False
        self._ended = False
        # Reentrant: delivering the failure that shows the engine dead aborts every request, this one too.
        self._lock = threading.RLock()

    def push(self, token_id: int) -> bool:
        """Takes the next token; returns True when the answer is complete and no more must be pushed."""
        if self._cancelled:
            self._end(Finished(Reason.CANCELLED, self._generated))
        elif not self._ended:
            self._accept(token_id)
        return self._ended

    def complete(self) -> None:
        """Ends the answer where it is; for an engine that cannot go on. Does nothing if it has ended."""
        if self._cancelled:
            self._end(Finished(Reason.CANCELLED, self._generated))
        elif not self._ended:
            self._close(Reason.LENGTH)

    def fail(self, error: Exception) -> None:
        """Ends the answer because the engine could not produce it."""
        self._end(Failed(f"{type(error).__name__}: {error}", engine_fault=True))

    def abort(self, message: str) -> None:
        """Ends the answer for a reason outside the engine, at once; the engine stops at its next token."""
        self._end(Failed(message, engine_fault=False))

    def cancel(self) -> None:
        """Says that nobody waits any more; the engine stops at its next token."""
        self._cancelled = True

    @property
    def wanted(self) -> bool:
        """Whether there is still somebody to answer."""
        return not (self._cancelled or self._ended)

    def _accept(self, token_id: int) -> None:
        if token_id in self._end_ids:
            self._close(Reason.STOP)
            return
        self._generated += 1
        shown, stopped = self._stops.feed(self._text.push(token_id))
        self._show(shown)
        if stopped:
            self._end(Finished(Reason.STOP, self._generated))
        elif self._generated >= self.sampling.max_new_tokens:
            self._close(Reason.LENGTH)

    def _close(self, reason: Reason) -> None:
        shown, stopped = self._stops.feed(self._text.flush())
        self._show(shown if stopped else shown + self._stops.flush())
        self._end(Finished(Reason.STOP if stopped else reason, self._generated))

    def _show(self, text: str) -> None:
        with self._lock:
            if text and not self._ended:
                self._deliver(Piece(text))

    def _end(self, event: Finished | Failed) -> None:
        with self._lock:
            if not self._ended:
                self._ended = True
                self._deliver(event)
