"""What every engine offers, and the queue it draws its work from.

The engine pulls: it asks the queue for as many requests as it has room for, whenever it has room. So an
engine that runs one request at a time, one that runs batches, and one that lets requests join and leave a
running batch all fit the same interface, and so does one with a loop of its own.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from serve.generation import Generation


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What is known of a model once it is loaded."""

    kind: str
    """`encoder-decoder` or `decoder-only`."""
    parameters: int
    device: str
    dtype: str
    end_ids: frozenset[int]
    """Tokens that end an answer."""
    context_tokens: int | None
    """Most tokens of prompt and answer together; None where the architecture sets no bound."""


class WorkQueue:
    """Requests that wait for the engine, in order of arrival. Safe to use from several threads."""

    def __init__(self) -> None:
        self._waiting: deque[Generation] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, generation: Generation) -> None:
        """Adds a request at the end; after `close`, gives it up at once."""
        with self._changed:
            if not self._closed:
                self._waiting.append(generation)
                self._changed.notify()
                return
        generation.abort("the server is stopping")

    def take(self, limit: int = 1, wait: float | None = None) -> list[Generation]:
        """Returns up to `limit` requests that somebody still waits for.

        Args:
            limit: how many the engine has room for.
            wait: seconds to wait for the first; None waits until there is one, 0 does not wait.

        Returns:
            The requests; none of them when the wait was in vain or the queue is closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._drop_unwanted(), timeout=wait)
            self._drop_unwanted()
            return [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]

    def close(self) -> None:
        """Lets `take` return nothing, now and for ever: the engine is to stop."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Whether the engine is to stop."""
        return self._closed

    def __len__(self) -> int:
        return len(self._waiting)

    def _drop_unwanted(self) -> bool:
        """Forgets requests whose client has left; returns whether any other waits."""
        wanted = [generation for generation in self._waiting if generation.wanted]
        if len(wanted) < len(self._waiting):
            self._waiting = deque(wanted)
        return bool(self._waiting)


class Engine(Protocol):
    """Owns one model. Made, loaded and run on one thread; `encode` and `decode` may be called from others."""

    def load(self) -> ModelInfo:
        """Reads the model into memory. Any exception means that it cannot be served."""
        ...

    def encode(self, text: str) -> list[int]:
        """Text to token ids, with the special tokens that the model expects around a prompt."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Token ids to text, special tokens left out."""
        ...

    def run(self, work: WorkQueue) -> None:
        """Answers what `work` hands out, until it is closed.

        A request that fails is told so by `Generation.fail` and the engine goes on; an exception that leaves
        this method means that the engine is dead.
        """
        ...
