"""Requests that join batches under way: rows of different ages in one batch answer as each would alone."""

from __future__ import annotations

import asyncio
import random
import shutil
from pathlib import Path

import pytest
from running import collect, plain_generate, random_prompts, running, tokens_of, with_generation_config
from serve.engines.base import GenerateRequest
from transformers import GPT2Config, GPT2LMHeadModel


def test_rows_of_different_ages_share_a_batch_and_answer_as_each_would_alone(
    staged: Path, tmp_path: Path
) -> None:
    own = 1 if "t5" in str(staged) else 0
    folder = with_generation_config(staged, tmp_path / "model", eos_token_id=[own, 17, 23])
    chooser = random.Random(3)

    async def scenario() -> tuple[list[list[int]], list[int], list[list[int]]]:
        async with running(folder, max_batch=16, max_wait_seconds=0.0) as engine:
            prompts = [(prompt * chooser.randint(1, 4))[:36] for prompt in random_prompts(engine, 60)]
            limits = [chooser.randint(1, 28) for _ in prompts]
            tasks = []
            for i, (prompt, limit) in enumerate(zip(prompts, limits, strict=True)):
                stream = engine.submit(GenerateRequest(str(i), prompt, limit))
                tasks.append(asyncio.create_task(collect(stream)))
                # As many as one step or several pass before the next arrives.
                await asyncio.sleep(chooser.choice([0.0, 0.0, 0.01, 0.03]))
            found = [tokens_of(events) for events in await asyncio.gather(*tasks)]
            now = engine.now()
            assert sum(now.steps_by_rows.values()) == now.steps
            assert sum(rows * count for rows, count in now.steps_by_rows.items()) == now.tokens
            return prompts, limits, found

    prompts, limits, found = asyncio.run(scenario())
    assert found == plain_generate(folder, prompts, limits)


def with_long_context(path: Path, to: Path) -> Path:
    """A copy of a decoder-only model that can write long answers; any other as it is."""
    if "t5" in str(path):
        return path
    config = GPT2Config.from_pretrained(path, n_positions=4096)
    shutil.copytree(path, to)
    GPT2LMHeadModel(config).save_pretrained(to)
    return to


def test_batches_that_began_apart_become_one(staged: Path, tmp_path: Path) -> None:
    folder = with_long_context(staged, tmp_path / "model")

    async def scenario() -> None:
        async with running(folder, max_wait_seconds=0.0) as engine:
            prompt = engine.encode("Tell me a joke")[:6]
            streams = []
            for i in range(3):
                streams.append(engine.submit(GenerateRequest(str(i), prompt * (i + 1), 4000)))
                await anext(streams[-1])
            before = engine.now().steps_by_rows.get(3, 0)
            while engine.now().steps_by_rows.get(3, 0) < before + 5:
                await asyncio.sleep(0.01)
            for stream in streams:
                await stream.aclose()

    asyncio.run(scenario())


@pytest.mark.parametrize("values", [{"repetition_penalty": 1.7}, {"no_repeat_ngram_size": 3}])
def test_rows_whose_model_looks_back_at_its_answer_are_right_whenever_they_began(
    staged: Path, tmp_path: Path, values: dict[str, object]
) -> None:
    folder = with_generation_config(staged, tmp_path / "model", **values)

    async def scenario() -> tuple[list[list[int]], list[list[int]]]:
        async with running(folder, max_wait_seconds=0.0) as engine:
            prompts = random_prompts(engine, 6)
            tasks = []
            for i, prompt in enumerate(prompts):
                stream = engine.submit(GenerateRequest(str(i), prompt[:24], 30 + i))
                first = await anext(stream)
                tasks.append((first, asyncio.create_task(collect(stream))))
            found = [tokens_of([first, *await task]) for first, task in tasks]
            return [prompt[:24] for prompt in prompts], found

    prompts, found = asyncio.run(scenario())
    assert found == plain_generate(folder, prompts, [30 + i for i in range(len(prompts))])
