"""An engine under way: cancellation, deadlines, a full queue, failures, its end."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import ask, collect, running, tokens_of, with_generation_config
from serve.batching import cohort
from serve.batching.dynamic import DynamicWorker
from serve.engines.base import (
    EngineSettings,
    EngineUnavailableError,
    FinishReason,
    GenerateRequest,
    GenerationFailedError,
    ModelError,
    UnsupportedError,
)
from serve.engines.transformers_engine import TransformersEngine

LONG = 4000
"""New tokens that take far longer than a test waits."""


async def until(condition: Callable[[], bool]) -> None:
    """Waits; the suite's timeout says where a condition never comes true."""
    while not condition():
        await asyncio.sleep(0.005)


def endless(name: str, prompt: list[int]) -> GenerateRequest:
    """A request that does not end by itself while a test runs."""
    return GenerateRequest(name, prompt, LONG)


@pytest.mark.usefixtures("batching")
def test_a_cancelled_request_of_a_decoder_only_model_frees_its_place(gpt2: Path) -> None:
    async def scenario() -> None:
        async with running(gpt2, max_batch=1) as engine:
            prompt = engine.encode("Tell me")
            room = 64 - len(prompt)
            for name in ("a", "b", "c"):
                stream = engine.submit(GenerateRequest(name, prompt, room))
                await anext(stream)
                await stream.aclose()
            (after,) = await ask(engine, GenerateRequest("a", prompt, 5))
            assert len(tokens_of(after)) == 5
            await until(lambda: engine.now().running == 0)

    asyncio.run(scenario())


def test_a_deadline_ends_an_answer_where_it_is_and_one_that_waits(t5: Path) -> None:
    async def scenario() -> None:
        async with running(t5, max_batch=1) as engine:
            prompt = engine.encode("Tell me a joke")
            soon = time.monotonic() + 0.3
            runs, waits = await ask(
                engine,
                GenerateRequest("runs", prompt, LONG, deadline=soon),
                GenerateRequest("waits", prompt, LONG, deadline=soon),
            )
            assert runs[-1].finish is waits[-1].finish is FinishReason.DEADLINE
            assert tokens_of(runs)
            assert len(tokens_of(runs)) == runs[-1].generated_tokens < LONG
            assert tokens_of(waits) == []

    asyncio.run(scenario())


def test_a_short_answer_overtakes_long_ones_that_began_before_it(t5: Path) -> None:
    async def scenario() -> None:
        async with running(t5) as engine:
            prompt = engine.encode("Tell me a joke")
            streams = [engine.submit(endless(str(i), prompt)) for i in range(6)]
            await asyncio.gather(*(anext(stream) for stream in streams))
            (short,) = await ask(engine, GenerateRequest("short", prompt, 4))
            assert short[-1].finish is FinishReason.LENGTH
            # The short one's row is dropped just after its last event.
            await until(lambda: engine.now().running == 6)
            for stream in streams:
                await stream.aclose()

    asyncio.run(scenario())


@pytest.mark.usefixtures("batching")
def test_a_request_that_does_not_fit_is_refused_with_the_bound_it_exceeds(gpt2: Path) -> None:
    async def scenario() -> None:
        async with running(gpt2, cache_tokens=32) as engine:
            prompt = engine.encode("Tell me")
            with pytest.raises(UnsupportedError, match="64 tokens"):
                engine.submit(GenerateRequest("a", prompt, 64))
            with pytest.raises(UnsupportedError, match="32 tokens"):
                engine.submit(GenerateRequest("a", prompt, 32))

    asyncio.run(scenario())


def test_a_request_that_does_not_fit_is_refused_also_where_batches_take_turns(
    gpt2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that neither the library's continuous batching can follow nor ours can merge."""
    monkeypatch.setattr(cohort, "can_merge", lambda *_: False)
    folder = with_generation_config(gpt2, tmp_path / "model", repetition_penalty=1.5)

    async def scenario() -> None:
        async with running(folder, cache_tokens=32) as engine:
            prompt = engine.encode("Tell me")
            with pytest.raises(UnsupportedError, match="32 tokens"):
                engine.submit(GenerateRequest("a", prompt, 32))

    asyncio.run(scenario())


@pytest.mark.usefixtures("batching")
def test_more_answers_than_the_cache_holds_at_once_are_all_complete(gpt2: Path) -> None:
    async def scenario() -> None:
        async with running(gpt2, cache_tokens=128, max_batch=8) as engine:
            prompt = engine.encode("Tell me a joke")
            (alone,) = await ask(engine, GenerateRequest("alone", prompt, 40))
            found = await ask(engine, *(GenerateRequest(str(i), prompt, 40) for i in range(12)))
            assert [tokens_of(answer) for answer in found] == [tokens_of(alone)] * 12

    asyncio.run(scenario())


def test_two_requests_of_one_id_are_not_held_together(t5: Path) -> None:
    async def scenario() -> None:
        async with running(t5) as engine:
            prompt = engine.encode("Tell me a joke")
            stream = engine.submit(endless("same", prompt))
            with pytest.raises(ValueError, match="'same' is held"):
                engine.submit(GenerateRequest("same", prompt, 2))
            await stream.aclose()
            (events,) = await ask(engine, GenerateRequest("same", prompt, 2))
            assert len(tokens_of(events)) == 2

    asyncio.run(scenario())


@pytest.mark.parametrize("stage", ["start", "step"])
def test_a_failure_ends_the_requests_it_hits_and_three_in_a_row_end_the_engine(
    t5: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """A prompt with the token 7 makes the model fail, as one that is too much for the memory would."""

    def break_model(worker: DynamicWorker) -> None:
        name = "generate" if stage == "start" else "_update_model_kwargs_for_generation"
        whole: Any = getattr(worker._model, name)

        def fails(*positional: Any, **named: Any) -> Any:
            if any(7 in answer.request.prompt_ids for answer in held(worker, named)):
                raise MemoryError("no room")
            return whole(*positional, **named)

        monkeypatch.setattr(worker._model, name, fails)

    def held(worker: DynamicWorker, named: dict[str, Any]) -> list[Any]:
        owner = getattr(named.get("custom_generate"), "__self__", None)
        return list(owner.answers) if owner else [a for c in worker._cohorts for a in c.answers]

    async def scenario() -> None:
        async with running(t5) as engine:
            assert isinstance(engine._worker, DynamicWorker)
            break_model(engine._worker)
            good = GenerateRequest("good", [5, 6, 1], 3)
            for attempt in range(3):
                bad = engine.submit(GenerateRequest("bad", [7, 1], 3))
                # At the start each row is tried alone, so a mate of the bad one is answered.
                mates = [engine.submit(good)] if stage == "start" and attempt < 2 else []
                with pytest.raises(GenerationFailedError, match="no room"):
                    await collect(bad)
                for mate in mates:
                    assert len(tokens_of(await collect(mate))) == 3
                if attempt < 2:
                    assert len(tokens_of((await ask(engine, good))[0])) == 3
                assert engine.death is None
            for _ in range(2):
                with pytest.raises(GenerationFailedError):
                    await ask(engine, GenerateRequest("bad", [7, 1], 3))
            await until(lambda: engine.death is not None)
            assert "no room" in str(engine.death)
            with pytest.raises(EngineUnavailableError, match="no room"):
                engine.submit(good)

    asyncio.run(scenario())


def test_closing_gives_up_what_runs_and_what_waits(staged: Path) -> None:
    async def scenario() -> None:
        async with running(staged, max_batch=1) as engine:
            prompt = engine.encode("Tell me")
            runs = engine.submit(GenerateRequest("runs", prompt, 64 - len(prompt)))
            waits = engine.submit(GenerateRequest("waits", prompt, 64 - len(prompt)))
            await anext(runs)
            assert await asyncio.to_thread(engine.close, 30)
            for stream in (runs, waits):
                with pytest.raises(EngineUnavailableError, match="stopping"):
                    await collect(stream)
            with pytest.raises(EngineUnavailableError):
                engine.submit(GenerateRequest("late", prompt, 2))
            assert engine.death is None

    before = threading.active_count()
    asyncio.run(scenario())
    assert threading.active_count() <= before


def test_a_model_that_does_not_load_says_why_and_answers_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        engine = TransformersEngine()
        with pytest.raises(ModelError, match=r"config\.json cannot be read .*model_type"):
            engine.load(tmp_path, EngineSettings())
        with pytest.raises(EngineUnavailableError):
            engine.submit(GenerateRequest("a", [1], 1))
        assert engine.close(1)

    asyncio.run(scenario())
