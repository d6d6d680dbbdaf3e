"""Batches on CTranslate2: each is one call, which tells every token as it is made.

A call drops rows that have ended, so that a batch costs what its living rows cost, but nothing can join it.
Later requests run beside it instead, in calls of their own that share the weights: short answers overtake
long ones.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from serve.batching import policy
from serve.batching.answer import Answer
from serve.batching.inbox import Inbox
from serve.batching.worker import Worker
from serve.engines.base import EngineSettings
from serve.engines.ctranslate2_options import Options, kind_of

LANES = policy.MAX_COHORTS
"""Calls that may run side by side."""
LOOK_SECONDS = 0.01
"""Between two looks at whether those who wait may start beside the batches that run."""


class Batch:
    """One call's requests.

    Args:
        answers: they take the tokens.
        count: called after each step with its number of rows.
        stopped: whether the engine is to stop.
    """

    def __init__(
        self, answers: Sequence[Answer], count: Callable[[int], None], stopped: Callable[[], bool]
    ) -> None:
        self.answers = answers
        self.step = -1
        """The step that is under way, from 0; -1 before the first."""
        self._rows = 0
        self._count = count
        self._stopped = stopped

    @property
    def alive(self) -> int:
        """Rows that have not ended."""
        return sum(not answer.ended for answer in self.answers)

    def take(self, made: Any) -> bool:
        """Takes a row's next token, on a thread of the library; returns whether the row has ended.

        Args:
            made: the library's `GenerationStepResult`.
        """
        if made.step != self.step:
            self.end_step()
            self.step = made.step
        self._rows += 1
        answer = self.answers[made.batch_id]
        if answer.request.deadline is not None:
            answer.expire(time.monotonic())
        return answer.push(made.token_id) or self._stopped()

    def end_step(self) -> None:
        """Counts the step under way, if there is one: the next begins, or the call is over."""
        if self._rows:
            self._count(self._rows)
            self._rows = 0


class CTranslate2Worker(Worker):
    """Answers what an inbox hands out, in up to `LANES` batches side by side.

    Args:
        translator: a loaded `ctranslate2.Translator` that runs `LANES` calls at once.
        vocabulary: the name of each token.
        options: the options of its calls.
        settings: bounds of a batch.
    """

    def __init__(
        self, translator: Any, vocabulary: list[str], options: Options, settings: EngineSettings
    ) -> None:
        super().__init__()
        self._translator = translator
        self._vocabulary = vocabulary
        self._options = options
        self._settings = settings
        self._batches: list[Batch] = []
        self._turn = threading.Lock()
        # Lanes count steps and failures, and end, at the same time.
        self._changed = threading.Condition()
        self._error: Exception | None = None

    @property
    def running(self) -> int:
        """Rows of all batches."""
        return sum(batch.alive for batch in list(self._batches))

    def run(self, inbox: Inbox) -> None:
        """Works until the inbox is closed."""
        lanes = [
            threading.Thread(target=self._lane, args=(inbox,), name=f"engine-{number}", daemon=True)
            for number in range(LANES)
        ]
        for lane in lanes:
            lane.start()
        for lane in lanes:
            lane.join()
        if self._error is not None:
            raise self._error

    def _lane(self, inbox: Inbox) -> None:
        try:
            while (batch := self._next(inbox)) is not None:
                try:
                    self._answer(batch, inbox)
                finally:
                    with self._changed:
                        self._batches.remove(batch)
                        self._changed.notify_all()
        except Exception as error:
            self._error = error
            inbox.close()

    def _next(self, inbox: Inbox) -> Batch | None:
        """Waits for the next batch, one lane at a time; None when the inbox is closed."""
        with self._turn:
            while inbox.wait():
                running = [batch.alive for batch in self._batches]
                room = self._settings.max_batch - sum(running)
                if not running:
                    inbox.gather(room, self._settings.max_wait_seconds)
                if answers := inbox.take(room, self._settings.max_batch_tokens, running, kind_of):
                    batch = self._batch(answers, inbox)
                    with self._changed:
                        self._batches.append(batch)
                    return batch
                with self._changed:
                    self._changed.wait(LOOK_SECONDS)
            return None

    def _answer(self, batch: Batch, inbox: Inbox) -> None:
        try:
            self._translate(batch)
        except Exception as error:
            if batch.step >= 0 or len(batch.answers) == 1:
                with self._changed:
                    self._fail(batch.answers, error)
                return
            # One prompt may be at fault, or all of them too much for the memory: each for itself will show.
            for answer in batch.answers:
                self._answer(self._batch([answer], inbox), inbox)

    def _translate(self, batch: Batch) -> None:
        requests = [answer.request for answer in batch.answers]
        self._translator.translate_batch(
            [[self._vocabulary[token] for token in request.prompt_ids] for request in requests],
            callback=batch.take,
            **self._options.of(requests[0], max(request.max_new_tokens for request in requests)),
        )
        batch.end_step()

    def _batch(self, answers: Sequence[Answer], inbox: Inbox) -> Batch:
        return Batch(answers, self._count, lambda: inbox.closed)

    def _count(self, tokens: int) -> None:
        with self._changed:
            super()._count(tokens)
