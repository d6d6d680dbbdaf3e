"""Dynamic batching: requests start together as batches, rows leave one by one.

Batches that run beside each other become one where the model allows it, else they take turns. A turn costs
nearly the same for one row as for many, so four batches that take turns make a quarter of the tokens.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from serve.batching.answer import Answer
from serve.batching.cohort import Cohort, rows_at_once
from serve.batching.inbox import Inbox
from serve.batching.worker import Worker
from serve.engines.base import EngineSettings


class DynamicWorker(Worker):
    """Runs up to `policy.MAX_COHORTS` batches, one token each in turn: short answers overtake long ones.

    Args:
        model: a loaded transformers model that can generate.
        pad_id: the token that fills rows up to the longest prompt.
        settings: bounds of a batch.
    """

    def __init__(self, model: Any, pad_id: int, settings: EngineSettings) -> None:
        super().__init__()
        self._model = model
        self._pad_id = pad_id
        self._settings = settings
        self._decoder_only = not model.config.is_encoder_decoder
        self._rows = rows_at_once(model, settings.max_batch)
        self._cohorts: list[Cohort] = []

    @property
    def running(self) -> int:
        """Rows of all batches."""
        return sum(len(cohort.answers) for cohort in list(self._cohorts))

    def run(self, inbox: Inbox) -> None:
        """Works until the inbox is closed."""
        while self._cohorts or inbox.wait():
            if inbox.closed:
                return
            self._admit(inbox)
            for cohort in list(self._cohorts):
                self._step(cohort)
            self._merge()

    def _admit(self, inbox: Inbox) -> None:
        settings = self._settings
        running = [len(cohort.answers) for cohort in self._cohorts]
        room = min(self._rows, settings.max_batch - sum(running))
        if not running:
            inbox.gather(room, settings.max_wait_seconds)
        tokens, cache_room = settings.max_batch_tokens, None
        if self._decoder_only:
            kept = [answer.most_tokens for cohort in self._cohorts for answer in cohort.answers]
            cache_room = settings.cache_tokens - sum(kept)
            # Those that run wait while prompts are read.
            tokens = min(tokens, settings.prefill_tokens) if running else tokens
        if answers := inbox.take(room, tokens, running, cache_room=cache_room):
            self._begin(answers)

    def _begin(self, answers: Sequence[Answer]) -> None:
        try:
            cohort = Cohort(self._model, answers, self._pad_id)
        except Exception as error:
            if len(answers) == 1:
                self._fail(answers, error)
                return
            # One prompt may be at fault, or all of them too much for the memory: each for itself will show.
            for answer in answers:
                self._begin([answer])
        else:
            self._cohorts.append(cohort)

    def _step(self, cohort: Cohort) -> None:
        now = time.monotonic()
        for answer in cohort.answers:
            answer.expire(now)
        try:
            cohort.drop_ended()
            if cohort.answers:
                self._count(cohort.step())
        except Exception as error:
            self._cohorts.remove(cohort)
            self._fail(cohort.answers, error)
            return
        if not cohort.answers:
            self._cohorts.remove(cohort)

    def _merge(self) -> None:
        if len(self._cohorts) < 2:
            return
        apart: list[Cohort] = []
        for cohort in self._cohorts:
            home = next((other for other in apart if other.merges_with(cohort)), None)
            if home is None:
                apart.append(cohort)
            else:
                home.absorb(cohort)
        self._cohorts = apart
