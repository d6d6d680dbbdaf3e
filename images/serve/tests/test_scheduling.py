"""Queue, cancellation, shutdown and a dead engine, with an engine whose speed the test decides."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import serving
from serve.engine import ModelInfo, WorkQueue
from serve.scheduler import Scheduler


class ScriptedEngine:
    """Answers with one letter per token, for as long as each request wants; not before `go` is set.

    A prompt `fail` raises inside the engine.
    """

    def __init__(self) -> None:
        self.go = threading.Event()
        self.answered: list[str] = []
        self.load_error: Exception | None = None

    def load(self) -> ModelInfo:
        if self.load_error:
            raise self.load_error
        return ModelInfo("decoder-only", 1, "cpu", "float32", frozenset([0]), None)

    def encode(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(chr(96 + token) for token in ids)

    def run(self, work: WorkQueue) -> None:
        warm_up = True
        while generations := work.take():
            for generation in generations:
                prompt = "".join(map(chr, generation.prompt_ids))
                if not warm_up:
                    self.go.wait()
                    self.answered.append(prompt)
                warm_up = False
                if prompt == "fail":
                    generation.fail(RuntimeError("scripted"))
                while not generation.push(1):
                    pass


def body(prompt: str, **more: object) -> dict[str, object]:
    return {"prompt": prompt, "max_new_tokens": 3} | more


async def held(scheduler: Scheduler, number: int) -> None:
    """Waits until this many requests are held and on their way to the engine."""
    while scheduler.held != number:
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.02)


def test_one_request_more_than_the_queue_holds_is_answered_429(t5: Path, settings_for, run) -> None:
    engine = ScriptedEngine()

    async def scenario() -> tuple[httpx.Response, list[httpx.Response], httpx.Response]:
        async with serving(settings_for(t5, max_queue=3), lambda: engine) as (client, scheduler):
            waiting = [asyncio.create_task(client.post("/generate", json=body(f"p{n}"))) for n in range(3)]
            await held(scheduler, 3)
            refused = await client.post("/generate", json=body("one more"))
            engine.go.set()
            answers = await asyncio.gather(*waiting)
            return refused, answers, await client.post("/generate", json=body("again"))

    refused, answers, again = run(scenario())
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) >= 1
    assert refused.json()["error"]["code"] == "queue_full"
    assert [a.json()["generated_text"] for a in answers] == ["aaa"] * 3
    assert again.status_code == 200
    assert engine.answered == ["p0", "p1", "p2", "again"], (
        "first come, first served; the refused one not at all"
    )


class Asgi:
    """A client that speaks ASGI itself, so that it can leave in the middle."""

    def __init__(self, client: httpx.AsyncClient, request: dict[str, object]) -> None:
        self._app = client._transport.app  # type: ignore[attr-defined]
        self._request = json.dumps(request).encode()
        self._left = asyncio.Event()
        self._sent_body = False
        self.received: list[dict[str, Any]] = []

    async def post(self) -> None:
        headers = [(b"content-type", b"application/json")]
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/generate",
            "headers": headers,
            "query_string": b"",
        }
        await self._app(scope | {"asgi": {"spec_version": "2.3"}}, self._receive, self._send)

    def leave(self) -> None:
        self._left.set()

    async def _receive(self) -> dict[str, Any]:
        if not self._sent_body and not self._left.is_set():
            self._sent_body = True
            return {"type": "http.request", "body": self._request, "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        self.received.append(message)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_ends_the_engine_s_work_for_it(
    t5: Path, settings_for, run, stream: bool
) -> None:
    # The request is endless: the test ends only because the engine is told that nobody waits.
    engine = ScriptedEngine()
    engine.go.set()

    async def scenario() -> tuple[int, httpx.Response, str]:
        async with serving(settings_for(t5, max_new_tokens=10**12), lambda: engine) as (client, scheduler):
            leaving = Asgi(client, {"prompt": "endless", "stream": stream})
            task = asyncio.create_task(leaving.post())
            while not engine.answered:
                await asyncio.sleep(0.005)
            leaving.leave()
            await task
            next_one = await client.post("/generate", json=body("next"))
            return scheduler.held, next_one, (await client.get("/metrics")).text

    still_held, next_one, metrics = run(scenario())
    assert still_held == 0
    assert next_one.json()["generated_text"] == "aaa"
    assert 'llm_requests_total{route="generate",status="499"} 1.0' in metrics


def test_a_client_that_leaves_the_queue_is_never_run(t5: Path, settings_for, run) -> None:
    engine = ScriptedEngine()

    async def scenario() -> None:
        async with serving(settings_for(t5), lambda: engine) as (client, scheduler):
            first = asyncio.create_task(client.post("/generate", json=body("first")))
            await held(scheduler, 1)
            leaving = Asgi(client, body("leaves"))
            task = asyncio.create_task(leaving.post())
            await held(scheduler, 2)
            leaving.leave()
            await task
            engine.go.set()
            await first
            await client.post("/generate", json=body("last"))

    run(scenario())
    assert engine.answered == ["first", "last"]


def test_a_client_that_leaves_while_it_sends_holds_no_place_and_leaves_no_error(
    t5: Path, settings_for, run, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> tuple[int, str]:
        async with serving(settings_for(t5), ScriptedEngine) as (client, scheduler):
            leaving = Asgi(client, body("never sent"))
            leaving.leave()
            await leaving.post()
            return scheduler.held, (await client.get("/metrics")).text

    still_held, metrics = run(scenario())
    assert still_held == 0
    assert 'llm_requests_total{route="generate",status="499"} 1.0' in metrics
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_one_failed_request_is_a_500_and_the_next_is_answered(t5: Path, settings_for, run) -> None:
    engine = ScriptedEngine()
    engine.go.set()

    async def scenario() -> list[httpx.Response]:
        async with serving(settings_for(t5), lambda: engine) as (client, _):
            prompts = ["fail", "fail", "fine", "fail", "fail", "fine"]
            answers = [await client.post("/generate", json=body(prompt)) for prompt in prompts]
            return [*answers, await client.get("/health")]

    *answers, health = run(scenario())
    assert [answer.status_code for answer in answers] == [500, 500, 200, 500, 500, 200]
    assert answers[0].json()["error"]["code"] == "generation_failed"
    assert health.status_code == 200


def test_three_failures_in_a_row_make_the_process_unhealthy(t5: Path, settings_for, run) -> None:
    engine = ScriptedEngine()
    engine.go.set()

    async def scenario() -> list[httpx.Response]:
        async with serving(settings_for(t5), lambda: engine) as (client, _):
            for _n in range(3):
                await client.post("/generate", json=body("fail"))
            return [
                await client.get("/health"),
                await client.get("/ready"),
                await client.post("/generate", json=body("after")),
                await client.post("/generate", json=body("after", stream=True)),
            ]

    responses = run(scenario())
    assert [response.status_code for response in responses] == [503, 503, 503, 503]
    assert "scripted" in responses[0].json()["detail"]
    assert responses[2].json()["error"]["code"] == "engine_dead"


def test_a_server_is_healthy_but_not_ready_while_it_loads(t5: Path, settings_for, run) -> None:
    class SlowEngine(ScriptedEngine):
        def load(self) -> ModelInfo:
            self.go.wait()
            return super().load()

    engine = SlowEngine()

    async def scenario() -> list[httpx.Response]:
        async with serving(settings_for(t5), lambda: engine, wait_ready=False) as (client, scheduler):
            early = [await client.get("/health"), await client.get("/ready"), await client.get("/metrics")]
            early.append(await client.post("/generate", json=body("early")))
            engine.go.set()
            while not scheduler.ready:
                await asyncio.sleep(0.005)
            return [*early, await client.get("/ready")]

    health, ready, metrics, early, later = run(scenario())
    assert (health.status_code, ready.status_code, later.status_code) == (200, 503, 200)
    assert ready.json()["status"] == "loading"
    assert "llm_ready 0.0" in metrics.text
    assert (early.status_code, early.json()["error"]["code"]) == (503, "loading")
    assert "Retry-After" in early.headers


def test_a_model_that_does_not_load_is_said_to_be_dead(t5: Path, settings_for, run) -> None:
    engine = ScriptedEngine()
    engine.load_error = ValueError("no weights")

    async def scenario() -> httpx.Response:
        async with serving(settings_for(t5), lambda: engine, wait_ready=False) as (client, scheduler):
            while scheduler.death is None:
                await asyncio.sleep(0.005)
            return await client.get("/health")

    health = run(scenario())
    assert health.status_code == 503
    assert health.json()["detail"] == "ValueError: no weights"


def test_what_is_left_at_the_end_of_a_shutdown_is_refused_clearly(t5: Path, settings_for, run) -> None:
    engine = ScriptedEngine()

    async def scenario() -> list[httpx.Response]:
        async with serving(settings_for(t5), lambda: engine) as (client, scheduler):
            whole = asyncio.create_task(client.post("/generate", json=body("whole")))
            stream = asyncio.create_task(client.post("/generate", json=body("stream", stream=True)))
            await held(scheduler, 2)
            scheduler.drain()
            late = await client.post("/generate", json=body("late"))
            scheduler.abort("the server is shutting down")
            responses = [late, await whole, await stream]
            engine.go.set()
            return responses

    late, whole, stream = run(scenario())
    assert (late.status_code, whole.status_code) == (503, 503)
    assert whole.json() == {"error": {"code": "shutting_down", "message": "the server is shutting down"}}
    assert json.loads(stream.text.removeprefix("data: ")) == whole.json()
