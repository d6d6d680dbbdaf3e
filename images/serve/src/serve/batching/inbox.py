"""Requests that wait for a place in a batch. Safe to use from several threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Sequence

from serve.batching import policy
from serve.batching.answer import Answer
from serve.engines.base import EngineUnavailableError, GenerateRequest, QueueFullError


class Inbox:
    """A bounded queue that hands out batches by `policy`.

    Args:
        most: most requests that wait.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: list[Answer] = []
        self._changed = threading.Condition()
        self._closed = False

    def put(self, answer: Answer) -> None:
        """Adds a request.

        Raises:
            QueueFullError: as many wait already as may.
            EngineUnavailableError: the engine is stopping.
        """
        with self._changed:
            if self._closed:
                raise EngineUnavailableError("the engine is stopping")
            self._drop_ended()
            if len(self._waiting) >= self._most:
                raise QueueFullError(f"{self._most} requests wait already; ask again later")
            self._waiting.append(answer)
            self._changed.notify_all()

    def wait(self) -> bool:
        """Waits until a request waits; returns False when the engine is to stop instead."""
        with self._changed:
            while not self._closed:
                self._drop_ended()
                if self._waiting:
                    return True
                self._changed.wait()
            return False

    def gather(self, room: int, max_wait: float) -> None:
        """Waits a little for more requests to share a batch with those that wait.

        Args:
            room: rows that the batch can have.
            max_wait: longest time that a single request waits, in seconds; see `policy.wait_for_mates`.
        """
        with self._changed:
            while not self._closed and self._waiting:
                seconds = policy.wait_for_mates(self._candidates(), room, max_wait, time.monotonic())
                if seconds <= 0:
                    return
                self._changed.wait(seconds)

    def take(
        self,
        room: int,
        max_tokens: int,
        running: Sequence[int] = (),
        kind: Callable[[GenerateRequest], Hashable] | None = None,
        cache_room: int | None = None,
    ) -> list[Answer]:
        """Takes the next batch out; waits for nothing.

        Args:
            room: rows that are free.
            max_tokens: most prompt tokens, padding included.
            running: rows of each batch that runs; beside one, a new batch may have to grow first.
            kind: where given, only requests of one kind share a batch.
            cache_room: see `policy.choose`.

        Returns:
            The requests, none where a batch should not start now.
        """
        with self._changed:
            self._drop_ended()
            candidates = self._candidates()
            if running and not policy.may_join(candidates, running, room, time.monotonic()):
                return []
            chosen = policy.choose(candidates, room, max_tokens, cache_room)
            if kind is not None and chosen:
                of_first = kind(self._waiting[chosen[0]].request)
                mates = [i for i, answer in enumerate(self._waiting) if kind(answer.request) == of_first]
                mated = policy.choose([candidates[i] for i in mates], room, max_tokens, cache_room)
                chosen = [mates[i] for i in mated]
            answers = [self._waiting[position] for position in chosen]
            taken = set(chosen)
            self._waiting = [answer for i, answer in enumerate(self._waiting) if i not in taken]
            return answers

    def close(self) -> None:
        """Lets nothing in any more and wakes whoever waits: the engine is to stop."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Whether the engine is to stop."""
        return self._closed

    def __len__(self) -> int:
        return sum(not answer.ended for answer in list(self._waiting))

    def _drop_ended(self) -> None:
        """Forgets what was cancelled and ends what is too late."""
        now = time.monotonic()
        self._waiting = [answer for answer in self._waiting if not answer.expire(now)]

    def _candidates(self) -> list[policy.Candidate]:
        return [
            policy.Candidate(
                len(answer.request.prompt_ids), answer.arrived, answer.request.deadline, answer.most_tokens
            )
            for answer in self._waiting
        ]
