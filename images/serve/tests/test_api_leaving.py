"""Clients that leave, stop reading or never finish sending hold nothing."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import serving
from requests_held import body, going, held
from scripted import ScriptedEngine


class Asgi:
    """A client that speaks ASGI itself, so that it can leave in the middle."""

    def __init__(self, client: httpx.AsyncClient, path: str, request: dict[str, object]) -> None:
        self._app = client._transport.app  # type: ignore[attr-defined]
        self._path = path
        self._request = json.dumps(request).encode()
        self._left = asyncio.Event()
        self._sent_body = False
        self.received: list[dict[str, Any]] = []
        self.most = 0
        """Messages after which it reads no more; 0 for never."""

    async def post(self) -> None:
        scope = {
            "type": "http",
            "method": "POST",
            "path": self._path,
            "headers": [(b"content-type", b"application/json")],
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
        if len(self.received) == self.most:
            await asyncio.Event().wait()


CHAT = {"model": "owner/tiny", "messages": [{"role": "user", "content": "endless"}]}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("path", "request_"),
    [
        ("/generate", {"prompt": "endless"}),
        ("/v1/chat/completions", CHAT),
        ("/v1/chat/completions", CHAT | {"n": 2}),
    ],
)
def test_a_client_that_leaves_ends_the_engine_s_work_for_it(
    t5: Path, settings_for, run, path: str, request_: dict[str, object], stream: bool
) -> None:
    # The request is endless: the test ends only because the engine is told that nobody waits.
    engine = going()

    async def scenario() -> tuple[int, httpx.Response, str]:
        async with serving(settings_for(t5, max_new_tokens=10**12), lambda: engine) as (client, service):
            leaving = Asgi(client, path, request_ | {"stream": stream})
            task = asyncio.create_task(leaving.post())
            while not engine.answered:
                await asyncio.sleep(0.005)
            leaving.leave()
            await task
            next_one = await client.post("/generate", json=body("next"))
            return service.gate.held, next_one, (await client.get("/metrics")).text

    still_held, next_one, metrics = run(scenario())
    assert still_held == 0
    assert next_one.json()["generated_text"] == "aaa"
    route = "generate" if path == "/generate" else "chat_completions"
    assert f'llm_requests_total{{route="{route}",status="499"}} 1.0' in metrics


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_the_queue_is_never_run(t5: Path, settings_for, run, stream: bool) -> None:
    engine = ScriptedEngine()

    async def scenario() -> None:
        async with serving(settings_for(t5), lambda: engine) as (client, service):
            first = asyncio.create_task(client.post("/generate", json=body("first")))
            await held(service, 1)
            leaving = Asgi(client, "/generate", body("leaves", stream=stream))
            task = asyncio.create_task(leaving.post())
            await held(service, 2)
            leaving.leave()
            await task
            engine.go.set()
            await first
            await client.post("/generate", json=body("last"))

    run(scenario())
    assert engine.answered == ["first", "last"]


def test_a_client_that_stops_reading_a_stream_loses_its_place(
    t5: Path, settings_for, run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve.api.service.TAKE_SECONDS", 0.1)

    async def scenario() -> tuple[int, str]:
        async with serving(settings_for(t5, max_new_tokens=10**12), going) as (client, service):
            stuck = Asgi(client, "/generate", {"prompt": "endless", "stream": True})
            stuck.most = 5
            await stuck.post()
            return service.gate.held, (await client.get("/metrics")).text

    still_held, metrics = run(scenario())
    assert still_held == 0
    assert 'llm_requests_total{route="generate",status="499"} 1.0' in metrics


def test_a_client_that_leaves_while_it_sends_holds_no_place_and_leaves_no_error(
    t5: Path, settings_for, run, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> tuple[int, str]:
        async with serving(settings_for(t5), ScriptedEngine) as (client, service):
            leaving = Asgi(client, "/generate", body("never sent"))
            leaving.leave()
            await leaving.post()
            return service.gate.held, (await client.get("/metrics")).text

    still_held, metrics = run(scenario())
    assert still_held == 0
    assert 'llm_requests_total{route="generate",status="499"} 1.0' in metrics
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
