"""Requests that fail, and an engine that fails again and again, stands still or dies."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import httpx
import pytest
from conftest import serving
from requests_held import body, events_of, going
from scripted import ScriptedEngine
from serve.health import Status


def test_one_failed_request_is_a_500_and_the_next_is_answered(t5: Path, settings_for, run) -> None:
    async def scenario() -> list[httpx.Response]:
        async with serving(settings_for(t5), going) as (client, _):
            prompts = ["fail", "fail", "fine", "fail", "fail", "fine"]
            answers = [await client.post("/generate", json=body(prompt)) for prompt in prompts]
            return [*answers, await client.get("/health")]

    *answers, health = run(scenario())
    assert [answer.status_code for answer in answers] == [500, 500, 200, 500, 500, 200]
    assert answers[0].json()["error"]["code"] == "generation_failed"
    assert health.status_code == 200


def test_a_stream_of_several_answers_ends_when_one_of_them_fails(t5: Path, settings_for, run) -> None:
    # The other is endless, and nobody reads it any more: the test ends only because it is given up.
    asked = {"model": "owner/tiny", "prompt": ["fail", "endless"], "max_tokens": 10**12, "stream": True}

    async def scenario() -> tuple[httpx.Response, int]:
        async with serving(settings_for(t5, max_new_tokens=10**12), going) as (client, service):
            return await client.post("/v1/completions", json=asked), service.gate.held

    response, still_held = run(scenario())
    *_, last = events_of(response.text)
    assert last["error"]["code"] == "generation_failed"
    assert still_held == 0


def test_requests_that_fail_together_count_as_one_failure_of_the_engine(t5: Path, settings_for, run) -> None:
    async def scenario() -> tuple[Status, Status]:
        async with serving(settings_for(t5), going) as (_, service):
            host, together = service.host, time.monotonic()
            for _ in range(8):
                host.note_failure(together)
            after_one_batch = host.status
            for _ in range(2):
                host.note_failure(time.monotonic())
            return after_one_batch, host.status

    assert run(scenario()) == (Status.READY, Status.DEAD)


def test_what_nobody_expected_is_counted_as_a_500_and_has_its_request_s_id(
    t5: Path, settings_for, run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> list[int]:
        raise LookupError("nobody expected this")

    async def scenario() -> tuple[httpx.Response, str]:
        async with serving(settings_for(t5), going) as (client, _):
            monkeypatch.setattr(ScriptedEngine, "encode", broken)
            response = await client.post("/generate", json=body("any"), headers={"X-Request-Id": "mine"})
            return response, (await client.get("/metrics")).text

    response, metrics = run(scenario())
    assert (response.status_code, response.headers["X-Request-Id"]) == (500, "mine")
    assert 'llm_requests_total{route="generate",status="500"} 1.0' in metrics


@pytest.mark.parametrize(
    ("prompts", "detail"), [(["fail"] * 3, "failed one after the other"), (["die"], "scripted death")]
)
def test_an_engine_that_fails_again_and_again_or_dies_makes_the_process_unhealthy(
    t5: Path, settings_for, run, prompts: list[str], detail: str
) -> None:
    async def scenario() -> list[httpx.Response]:
        async with serving(settings_for(t5), going) as (client, service):
            for prompt in prompts:
                await client.post("/generate", json=body(prompt))
            while service.host.death is None:
                await asyncio.sleep(0.01)
            return [
                await client.get("/health"),
                await client.get("/ready"),
                await client.post("/generate", json=body("after")),
                await client.post("/v1/completions", json={"model": "owner/tiny", "prompt": "after"}),
            ]

    responses = run(scenario())
    assert [response.status_code for response in responses] == [503, 503, 503, 503]
    assert detail in responses[0].json()["detail"]
    assert responses[2].json()["error"]["code"] == "engine_dead"
    assert responses[3].json()["error"]["type"] == "server_error"


def test_an_engine_that_stands_still_with_work_is_found_dead_and_its_clients_are_told(
    t5: Path, settings_for, run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> tuple[Status, httpx.Response, httpx.Response]:
        async with serving(settings_for(t5, stall_seconds=0.5), going) as (client, service):
            # Longer than it may stand still: an idle engine completes no steps either.
            await asyncio.sleep(0.8)
            idle = service.host.status
            return idle, await client.post("/generate", json=body("hang")), await client.get("/health")

    # Its thread hangs for ever, so it cannot be stopped.
    monkeypatch.setattr(ScriptedEngine, "close", lambda *_: True)
    idle, answer, health = run(scenario())
    assert idle is Status.READY
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_dead")
    assert health.status_code == 503
    assert "has not completed a step for 0.5 seconds" in health.json()["detail"]


def test_a_model_that_does_not_load_is_said_to_be_dead(t5: Path, settings_for, run) -> None:
    engine = ScriptedEngine()
    engine.load_error = ValueError("no weights")

    async def scenario() -> httpx.Response:
        async with serving(settings_for(t5), lambda: engine, wait_ready=False) as (client, service):
            while service.host.death is None:
                await asyncio.sleep(0.005)
            return await client.get("/health")

    health = run(scenario())
    assert health.status_code == 503
    assert health.json()["detail"] == "ValueError: no weights"
