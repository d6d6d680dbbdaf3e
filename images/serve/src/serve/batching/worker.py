"""What the engine's thread runs once the model is loaded."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence

from serve.batching.answer import Answer
from serve.batching.inbox import Inbox
from serve.engines.base import GenerationFailedError

LOG = logging.getLogger(__name__)
FAILURES_UNTIL_DEAD = 3
"""Batches that fail one after the other before the engine counts as dead."""


class Worker(ABC):
    """Answers what an inbox hands out, and counts what it does."""

    def __init__(self) -> None:
        self.steps = 0
        self.tokens = 0
        self.steps_by_rows: Counter[int] = Counter()
        self._failures = 0

    @abstractmethod
    def run(self, inbox: Inbox) -> None:
        """Works until the inbox is closed; an exception that leaves it means that the engine is dead."""

    @property
    @abstractmethod
    def running(self) -> int:
        """Requests that have a place now."""

    def _count(self, tokens: int) -> None:
        """Notes a step that went well: one token for each row."""
        self.steps += 1
        self.steps_by_rows[tokens] += 1
        self.tokens += tokens
        self._failures = 0

    def _fail(self, answers: Sequence[Answer], error: Exception) -> None:
        """Tells requests that the model failed on them.

        Raises:
            RuntimeError: the model has failed too often in a row.
        """
        LOG.error("generation failed", exc_info=error, extra={"requests": len(answers)})
        message = f"{type(error).__name__}: {error}"
        for answer in answers:
            answer.fail(GenerationFailedError(message))
        self._failures += 1
        if self._failures >= FAILURES_UNTIL_DEAD:
            raise RuntimeError(
                f"{self._failures} batches failed one after the other, the last with {message}"
            )
