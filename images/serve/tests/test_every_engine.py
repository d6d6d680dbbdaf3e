"""What holds of requests under way whichever engine runs them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import pytest
from ctranslate2_models import converted
from ctranslate2_models import running as running_ctranslate2
from running import ask, collect, running, tokens_of
from serve.engines.base import FinishReason, GenerateRequest, QueueFullError
from serve.engines.local import LocalEngine
from test_engine_lifecycle import endless, until

Started = Callable[..., AbstractAsyncContextManager[LocalEngine]]


@pytest.fixture(params=["transformers", "ctranslate2"])
def started(request: pytest.FixtureRequest, t5: Path, tmp_path: Path) -> Started:
    """Starts an engine with a T5; takes `EngineSettings`."""
    if request.param == "transformers":
        return partial(running, t5)
    return partial(running_ctranslate2, converted(t5, tmp_path / "float32"))


@pytest.mark.parametrize("how", ["cancel", "aclose"])
def test_a_request_that_is_given_up_leaves_the_batch_and_its_mates_go_on(started: Started, how: str) -> None:
    async def scenario() -> None:
        async with started() as engine:
            prompt = engine.encode("Tell me a joke")
            (alone,) = await ask(engine, GenerateRequest("alone", prompt, 60))
            leaving = engine.submit(endless("leaving", prompt))
            mate = asyncio.create_task(collect(engine.submit(GenerateRequest("mate", prompt, 60))))
            seen = [await anext(leaving) for _ in range(3)]
            if how == "cancel":
                engine.cancel("leaving")
                assert (await collect(leaving))[-1].finish is FinishReason.CANCELLED
            else:
                await leaving.aclose()
                assert await collect(leaving) == []
            assert tokens_of(seen) == tokens_of(alone)[:3]
            assert tokens_of(await mate) == tokens_of(alone)
            await until(lambda: engine.now().running == 0)

    asyncio.run(scenario())


def test_a_full_queue_refuses_and_takes_again_once_there_is_room(started: Started) -> None:
    async def scenario() -> None:
        async with started(max_batch=1, max_waiting=2) as engine:
            prompt = engine.encode("Tell me a joke")
            first = engine.submit(endless("first", prompt))
            await anext(first)
            waiting = [engine.submit(GenerateRequest(name, prompt, 2)) for name in ("a", "b")]
            with pytest.raises(QueueFullError, match="2 requests wait"):
                engine.submit(GenerateRequest("c", prompt, 2))
            assert engine.now().waiting == 2
            await waiting[0].aclose()
            again = engine.submit(GenerateRequest("c", prompt, 2))
            await first.aclose()
            assert [len(tokens_of(await collect(stream))) for stream in (waiting[1], again)] == [2, 2]

    asyncio.run(scenario())
