"""Rows that leave a batch of the real model, whenever they do."""

from __future__ import annotations

from pathlib import Path

from running import plain_generate
from serve.batching.answer import Answer
from serve.batching.cohort import Cohort
from serve.engines import checkpoint
from serve.engines.base import EngineSettings, FinishReason, GenerateRequest, TokenEvent


def test_the_longest_row_may_leave_before_the_first_step(t5: Path) -> None:
    loaded = checkpoint.load(t5, EngineSettings())
    prompts = [[5, 6, 7, 1], [5, 6, 7, 8, 9, 10, 11, 12, 1], [9, 1]]
    events: list[list[TokenEvent]] = [[] for _ in prompts]
    answers = [
        Answer(
            GenerateRequest(str(row), prompt, 6), loaded.tokenizer.decode, loaded.end_ids, events[row].append
        )
        for row, prompt in enumerate(prompts)
    ]
    cohort = Cohort(loaded.model, answers, loaded.pad_id)
    answers[1].finish(FinishReason.CANCELLED)
    cohort.drop_ended()
    while cohort.answers:
        cohort.step()
    found = [[event.token_id for event in events[row] if event.token_id is not None] for row in (0, 2)]
    assert found == plain_generate(t5, [prompts[0], prompts[2]], [6, 6])
