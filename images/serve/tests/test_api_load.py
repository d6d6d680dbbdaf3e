"""Queue, deadlines, shutdown and readiness, with a model whose speed the test decides."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx
from conftest import serving
from requests_held import body, events_of, going, held
from scripted import ScriptedEngine
from serve.health import Status
from serve.queueing import shutting_down


def test_one_request_more_than_the_queue_holds_is_answered_429(t5: Path, settings_for, run) -> None:
    engine = ScriptedEngine()

    async def scenario() -> tuple[list[httpx.Response], list[httpx.Response], httpx.Response]:
        async with serving(settings_for(t5, max_queue=3), lambda: engine) as (client, service):
            waiting = [asyncio.create_task(client.post("/generate", json=body(f"p{n}"))) for n in range(3)]
            await held(service, 3)
            completion = {"model": "owner/tiny", "prompt": "one more"}
            refused = [
                await client.post("/generate", json=body("one more")),
                await client.post("/v1/completions", json=completion),
                await client.post("/predict", json={"instances": ["one more"]}),
            ]
            engine.go.set()
            answers = await asyncio.gather(*waiting)
            return refused, answers, await client.post("/generate", json=body("again"))

    refused, answers, again = run(scenario())
    for response in refused:
        assert response.status_code == 429
        assert int(response.headers["Retry-After"]) >= 1
        assert response.json()["error"]["code"] == "queue_full"
    assert refused[1].json()["error"]["type"] == "rate_limit_error"
    assert [a.json()["generated_text"] for a in answers] == ["aaa"] * 3
    assert again.status_code == 200
    assert engine.answered == ["p0", "p1", "p2", "again"]


def test_several_answers_take_as_many_places_or_none(t5: Path, settings_for, run) -> None:
    engine = ScriptedEngine()

    async def scenario() -> tuple[list[httpx.Response], int]:
        async with serving(settings_for(t5, max_queue=4), lambda: engine) as (client, service):
            first = asyncio.create_task(client.post("/predict", json={"instances": ["a", "b", "c"]}))
            await held(service, 3)
            refused = await client.post(
                "/v1/completions", json={"model": "owner/tiny", "prompt": "d", "n": 2}
            )
            too_many = await client.post("/predict", json={"instances": ["e"] * 5})
            engine.go.set()
            return [await first, refused, too_many], service.gate.held

    (first, refused, too_many), still_held = run(scenario())
    assert [first.status_code, refused.status_code, too_many.status_code] == [200, 429, 422]
    assert len(first.json()["predictions"]) == 3
    assert too_many.json()["error"]["code"] == "too_many_answers"
    assert still_held == 0
    assert sorted(engine.answered) == ["a", "b", "c"]


def test_a_request_is_refused_at_its_deadline_whether_it_waits_runs_or_streams(
    t5: Path, settings_for, run
) -> None:
    engine = ScriptedEngine()
    settings = settings_for(t5, request_seconds=0.3, max_new_tokens=10**12)

    async def scenario() -> tuple[list[httpx.Response], httpx.Response, httpx.Response]:
        async with serving(settings, lambda: engine) as (client, _):
            waiting = asyncio.gather(
                *(client.post("/generate", json={"prompt": prompt, "stream": False}) for prompt in "ab")
            )
            refused = await waiting
            engine.go.set()
            stream = await client.post("/generate", json={"prompt": "endless", "stream": True})
            own = await client.post("/generate", json={"prompt": "endless", "timeout_seconds": 0.05})
            return [*refused, own], stream, await client.get("/health")

    refused, stream, health = run(scenario())
    for response in refused:
        assert (response.status_code, response.json()["error"]["code"]) == (504, "deadline_exceeded")
    assert "0.05 seconds" in refused[-1].json()["error"]["message"]
    *tokens, last = events_of(stream.text)
    assert tokens[0] == {"token": "a"}
    assert last["error"]["code"] == "deadline_exceeded"
    assert health.status_code == 200, "a deadline is no fault of the engine"


def test_a_completion_without_a_limit_has_no_more_tokens_than_the_server_allows(
    t5: Path, settings_for, run
) -> None:
    async def scenario() -> httpx.Response:
        async with serving(settings_for(t5, max_new_tokens=5), going) as (client, _):
            return await client.post("/v1/completions", json={"model": "owner/tiny", "prompt": "any"})

    assert run(scenario()).json()["usage"]["completion_tokens"] == 5


def test_a_server_is_healthy_but_not_ready_while_it_loads(t5: Path, settings_for, run) -> None:
    engine = going()
    engine.may_load.clear()

    async def scenario() -> list[httpx.Response]:
        async with serving(settings_for(t5), lambda: engine, wait_ready=False) as (client, service):
            early = [await client.get("/health"), await client.get("/ready"), await client.get("/metrics")]
            early.append(await client.post("/generate", json=body("early")))
            engine.may_load.set()
            while service.host.status is not Status.READY:
                await asyncio.sleep(0.005)
            return [*early, await client.get("/ready")]

    health, ready, metrics, early, later = run(scenario())
    assert (health.status_code, ready.status_code, later.status_code) == (200, 503, 200)
    assert ready.json()["status"] == "loading"
    assert "llm_ready 0.0" in metrics.text
    assert (early.status_code, early.json()["error"]["code"]) == (503, "loading")
    assert "Retry-After" in early.headers


def test_what_is_left_at_the_end_of_a_shutdown_is_refused_clearly(t5: Path, settings_for, run) -> None:
    engine = ScriptedEngine()

    async def scenario() -> list[httpx.Response]:
        async with serving(settings_for(t5), lambda: engine) as (client, service):
            whole = asyncio.create_task(client.post("/generate", json=body("whole")))
            stream = asyncio.create_task(client.post("/generate", json=body("stream", stream=True)))
            await held(service, 2)
            service.gate.drain()
            late, ready = await client.post("/generate", json=body("late")), await client.get("/ready")
            service.gate.abort(shutting_down())
            responses = [late, ready, await whole, await stream]
            engine.go.set()
            return responses

    late, ready, whole, stream = run(scenario())
    assert (late.status_code, ready.status_code, whole.status_code) == (503, 503, 503)
    assert whole.json() == {"error": {"code": "shutting_down", "message": "the server is shutting down"}}
    assert json.loads(stream.text.removeprefix("data: ")) == whole.json()
