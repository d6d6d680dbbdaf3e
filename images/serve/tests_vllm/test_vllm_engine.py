"""vLLM behind the interface of every engine: the same answers as plain `generate`, the same ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from conftest import CONTEXT, PROMPTS, reference, started
from serve.engines.base import (
    Engine,
    EngineUnavailableError,
    FinishReason,
    GenerateRequest,
    TokenEvent,
    UnsupportedError,
)
from serve.engines.vllm_engine import VllmEngine

TOKENS = 24
LONG = CONTEXT - 20


def request(engine: Engine, text: str, name: str, **values: object) -> GenerateRequest:
    made = GenerateRequest(id=name, prompt_ids=engine.encode(text), max_new_tokens=TOKENS)
    return replace(made, **values)


async def answer(engine: Engine, asked: GenerateRequest) -> list[TokenEvent]:
    return [event async for event in engine.submit(asked)]


def together(engine: Engine, requests: list[GenerateRequest]) -> list[list[TokenEvent]]:
    async def ask() -> list[list[TokenEvent]]:
        return await asyncio.gather(*(answer(engine, each) for each in requests))

    return asyncio.run(ask())


def tokens(events: list[TokenEvent]) -> list[int]:
    return [event.token_id for event in events if event.token_id is not None]


def text(events: list[TokenEvent]) -> str:
    return "".join(event.text for event in events)


async def until(true: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.02)


async def expect_unavailable(ending: Awaitable[list[TokenEvent]]) -> None:
    with pytest.raises(EngineUnavailableError):
        await ending


@pytest.fixture(params=["gpt2", "llama"])
def served(request: pytest.FixtureRequest) -> tuple[str, Path, VllmEngine]:
    """Each model in turn: its name, its folder and the engine that has it."""
    name = str(request.param)
    return name, request.getfixturevalue(name), request.getfixturevalue(f"{name}_engine")


def test_each_greedy_answer_of_a_mixed_batch_is_that_of_plain_generate(
    served: tuple[str, Path, VllmEngine],
) -> None:
    name, path, engine = served
    asked = [
        request(engine, prompt, f"{name}-{number}", max_new_tokens=3 + 5 * number)
        for number, prompt in enumerate(PROMPTS)
    ]
    answers = together(engine, asked)
    expected = [reference(path, list(each.prompt_ids), each.max_new_tokens) for each in asked]
    assert [tokens(each) for each in answers] == expected
    assert [text(each) for each in answers] == [engine.decode(each) for each in expected]
    ended = [len(each) < ask.max_new_tokens for each, ask in zip(expected, asked, strict=True)]
    assert any(ended) == (name == "llama"), "the models are made so"
    reasons = [FinishReason.STOP if early else FinishReason.LENGTH for early in ended]
    assert [each[-1].finish for each in answers] == reasons


def test_tokens_are_streamed_one_by_one(gpt2_engine: VllmEngine) -> None:
    [events] = together(gpt2_engine, [request(gpt2_engine, PROMPTS[0], "stream")])
    assert [event.generated_tokens for event in events] == list(range(1, TOKENS + 1))


def test_a_stop_string_ends_the_answer_and_is_not_part_of_it(gpt2_engine: VllmEngine) -> None:
    [whole] = together(gpt2_engine, [request(gpt2_engine, PROMPTS[0], "whole")])
    stop = text(whole)[8:11]
    [stopped] = together(gpt2_engine, [request(gpt2_engine, PROMPTS[0], "stopped", stop=(stop,))])
    assert text(stopped) == text(whole).partition(stop)[0]
    assert stopped[-1].finish is FinishReason.STOP


@pytest.mark.parametrize("seed", [0, -1, 2**63 - 1])
def test_a_seed_repeats_a_sampled_answer_whatever_else_runs(gpt2_engine: VllmEngine, seed: int) -> None:
    asked = request(gpt2_engine, PROMPTS[0], f"seed-{seed}", do_sample=True, temperature=1.5, seed=seed)
    [alone] = together(gpt2_engine, [asked])
    company = [request(gpt2_engine, PROMPTS[1], f"company-{i}", do_sample=True) for i in range(3)]
    among, *_ = together(gpt2_engine, [asked, *company])
    assert tokens(alone) == tokens(among)


def test_other_seeds_and_none_draw_other_answers(gpt2_engine: VllmEngine) -> None:
    drawn = {"do_sample": True, "temperature": 2.0}
    asked = [request(gpt2_engine, "a", f"drawn-{i}", seed=i, **drawn) for i in range(2)]
    asked += [request(gpt2_engine, "a", f"free-{i}", **drawn) for i in range(2)]
    assert len({tuple(tokens(each)) for each in together(gpt2_engine, asked)}) == 4


@pytest.mark.parametrize("narrow", [{"top_k": 1}, {"top_p": 1e-6}], ids=["top_k", "top_p"])
def test_sampling_from_one_token_is_the_greedy_answer(
    gpt2_engine: VllmEngine, narrow: dict[str, float]
) -> None:
    greedy = request(gpt2_engine, PROMPTS[0], "greedy")
    sampled = request(gpt2_engine, PROMPTS[0], "narrow", do_sample=True, temperature=2.0, **narrow)
    first, second = together(gpt2_engine, [greedy, sampled])
    assert tokens(first) == tokens(second)


def test_a_client_that_leaves_gives_its_place_to_the_next(gpt2_engine: VllmEngine) -> None:
    async def leave() -> list[TokenEvent]:
        full = [request(gpt2_engine, "a", f"left-{i}", max_new_tokens=LONG) for i in range(4)]
        streams = [gpt2_engine.submit(each) for each in full]
        for stream in streams:
            await anext(stream)
        for stream in streams:
            await stream.aclose()
        events = await answer(gpt2_engine, request(gpt2_engine, "Hello", "next"))
        await until(lambda: gpt2_engine.now().running == 0)
        return events

    assert asyncio.run(leave())[-1].finish is FinishReason.LENGTH


def test_a_cancelled_request_says_so(gpt2_engine: VllmEngine) -> None:
    async def cancel() -> list[TokenEvent]:
        stream = gpt2_engine.submit(request(gpt2_engine, "a", "cancelled", max_new_tokens=LONG))
        events = [await anext(stream)]
        gpt2_engine.cancel("cancelled")
        return events + [event async for event in stream]

    events = asyncio.run(cancel())
    assert events[-1].finish is FinishReason.CANCELLED
    assert len(events) < LONG


def test_a_deadline_ends_an_answer_whether_it_runs_or_waits(gpt2_engine: VllmEngine) -> None:
    asked = [request(gpt2_engine, "a", f"runs-{i}", max_new_tokens=LONG) for i in range(8)]
    late = [replace(each, deadline=time.monotonic() + 1) for each in asked]
    answers = together(gpt2_engine, late)
    assert {each[-1].finish for each in answers} == {FinishReason.DEADLINE}
    assert answers[0][-1].generated_tokens > 0
    assert answers[-1][-1].generated_tokens == 0, "more than may run at once were asked for"


def test_what_does_not_fit_the_context_is_refused(gpt2_engine: VllmEngine) -> None:
    with pytest.raises(UnsupportedError, match=f"more than the {CONTEXT} tokens"):
        together(gpt2_engine, [request(gpt2_engine, "Hello", "long", max_new_tokens=CONTEXT)])


def test_steps_and_tokens_are_counted(gpt2_engine: VllmEngine) -> None:
    before = gpt2_engine.now()
    together(gpt2_engine, [request(gpt2_engine, "a", f"counted-{i}") for i in range(4)])
    after = gpt2_engine.now()
    assert after.tokens - before.tokens == 4 * TOKENS
    assert TOKENS <= after.steps - before.steps < 4 * TOKENS
    sizes = {size: count - before.steps_by_rows.get(size, 0) for size, count in after.steps_by_rows.items()}
    assert sum(size * count for size, count in sizes.items()) == 4 * TOKENS
    assert sizes[4] > 0


def test_when_vllm_dies_every_request_is_told_and_none_is_taken(gpt2: Path) -> None:
    engine = started(gpt2)

    async def die() -> None:
        asked = [request(engine, "a", f"dies-{i}", max_new_tokens=LONG) for i in range(6)]
        endings = [asyncio.ensure_future(answer(engine, each)) for each in asked]
        await until(lambda: engine.now().tokens > 0)
        for child in psutil.Process().children(recursive=True):
            if "EngineCore" in child.name() or "Worker" in child.name():
                child.kill()
        for ending in endings:
            await expect_unavailable(ending)
        await until(lambda: engine.death is not None)
        with pytest.raises(EngineUnavailableError):
            engine.submit(asked[0])

    asyncio.run(die())
    assert "vLLM" in str(engine.death)
    assert engine.close(30)


def test_closing_gives_up_what_runs_and_leaves_no_process(gpt2: Path) -> None:
    before = set(psutil.Process().children(recursive=True))
    engine = started(gpt2)
    own = set(psutil.Process().children(recursive=True)) - before

    async def close() -> None:
        asked = [request(engine, "a", f"closed-{i}", max_new_tokens=LONG) for i in range(6)]
        endings = [asyncio.ensure_future(answer(engine, each)) for each in asked]
        await until(lambda: engine.now().tokens > 0)
        assert await asyncio.to_thread(engine.close, 30)
        for ending in endings:
            await expect_unavailable(ending)

    asyncio.run(close())
    assert engine.death is None
    core = {each for each in own if "resource_tracker" not in " ".join(_command(each))}
    _, alive = psutil.wait_procs(core, timeout=30)
    assert not alive


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []
