"""A serving image's HTTP side on loopback whose answers, delays and failures a test decides; no model."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from rehearsal.cloud.servers import Server, bind

MODEL = "owner/tiny"
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Script:
    """What the server does next.

    Args:
        pieces: the pieces of every answer.
        gap: seconds before each piece.
        refusals: what the next generating requests get in place of an answer; None answers one.
        template: whether the model has a chat template.
        cut: what happens after the first piece of a stream: `connection` breaks it off, `end` ends it as if
            it were complete, `error` says in it that the model failed.
        together: no answer begins before this many requests have come.
        most: most answers that were made at the same time so far.
        bodies: what was asked, in order.
        tokens: the identity tokens that came with it.
        left: set once a client left before its answer was complete.
        accepted: the only identity token that is accepted; None accepts everything.
    """

    pieces: tuple[str, ...] = ("Hello", ", ", "world")
    gap: float = 0.0
    refusals: deque[Response | None] = field(default_factory=deque)
    template: bool = False
    cut: str = ""
    together: int = 0
    most: int = 0
    bodies: list[dict[str, Any]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    left: threading.Event = field(default_factory=threading.Event)
    accepted: str | None = None
    url: str = ""


def refusal(status: int, message: str, code: str = "code", retry_after: str | None = None) -> Response:
    """A refusal in the image's form."""
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)


@contextmanager
def serving(script: Script) -> Iterator[Script]:
    """Serves a script; its `url` says where."""
    listening = bind(0)
    script.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    app = Starlette(
        routes=[
            Route("/v1/models", _App(script).models),
            Route("/v1/chat/completions", _App(script).chat, methods=["POST"]),
            Route("/generate", _App(script).generate, methods=["POST"]),
        ]
    )
    config = uvicorn.Config(app, log_config=None, lifespan="off", ws="none", timeout_graceful_shutdown=1)
    server = Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield script
    finally:
        server.should_exit = True
        thread.join()


class _App:
    def __init__(self, script: Script) -> None:
        self._script = script
        self._busy = 0

    async def models(self, request: Request) -> Response:
        return self._stranger(request) or JSONResponse({"object": "list", "data": [{"id": MODEL}]})

    async def chat(self, request: Request) -> Response:
        body = await request.json()
        refused = self._begin(request, body)
        if refused is not None:
            return refused
        if len(body["messages"]) > 1 and not self._script.template:
            return refusal(400, "the model has no chat template", "no_chat_template")
        if not body.get("stream"):
            return JSONResponse({"choices": []})
        return StreamingResponse(self._chat_events(body), media_type="text/event-stream")

    async def generate(self, request: Request) -> Response:
        body = await request.json()
        refused = self._begin(request, body)
        if refused is not None:
            return refused
        if body.get("stream"):
            return StreamingResponse(self._own_events(), media_type="text/event-stream")
        text = "".join([piece async for piece in self._pieces()])
        return JSONResponse(self._completion(text))

    def _begin(self, request: Request, body: dict[str, Any]) -> Response | None:
        self._script.bodies.append(body)
        self._script.tokens.append(request.headers.get("authorization", ""))
        stranger = self._stranger(request)
        if stranger is not None or not self._script.refusals:
            return stranger
        return self._script.refusals.popleft()

    def _stranger(self, request: Request) -> Response | None:
        accepted = self._script.accepted
        if accepted is None or request.headers.get("authorization") == f"Bearer {accepted}":
            return None
        return Response("<html><title>401 Unauthorized</title></html>", 401)

    async def _pieces(self) -> AsyncIterator[str]:
        self._busy += 1
        self._script.most = max(self._script.most, self._busy)
        complete = False
        try:
            while len(self._script.bodies) < self._script.together:
                await asyncio.sleep(0.01)
            for piece in self._script.pieces:
                await asyncio.sleep(self._script.gap)
                yield piece
            complete = True
        finally:
            self._busy -= 1
            if not complete:
                self._script.left.set()

    async def _own_events(self) -> AsyncIterator[str]:
        async for piece in self._pieces():
            yield _event({"token": piece})
            if self._script.cut == "connection":
                raise ConnectionAbortedError
            if self._script.cut == "end":
                return
            if self._script.cut == "error":
                yield _event({"error": {"code": "generation_failed", "message": "the model failed"}})
                return
        yield _event({"done": True, **self._completion("".join(self._script.pieces))})

    async def _chat_events(self, body: dict[str, Any]) -> AsyncIterator[str]:
        yield _choice({"role": "assistant", "content": ""})
        async for piece in self._pieces():
            yield _choice({"content": piece})
            if self._script.cut == "connection":
                raise ConnectionAbortedError
            if self._script.cut == "end":
                return
            if self._script.cut == "error":
                yield _event({"error": {"code": "generation_failed", "message": "the model failed"}})
                return
        yield _choice({}, "length" if body.get("max_completion_tokens") == 3 else "stop")
        yield _event({"choices": [], "usage": {"prompt_tokens": 2, "completion_tokens": 3}})
        yield "data: [DONE]\n\n"

    def _completion(self, text: str) -> dict[str, Any]:
        usage = {"prompt_tokens": 2, "generated_tokens": len(self._script.pieces)}
        return {"model": MODEL, "generated_text": text, "finish_reason": "stop", "usage": usage}


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data)}\n\n"


def _choice(delta: dict[str, str], finish: str | None = None) -> str:
    return _event({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


def make_project(root: Path, url: str) -> Path:
    """A checkout whose stack `dev` is up with one deployment, `assistant`; its engine only says so.

    `gcloud` there prints the content of the file `token`, and fails where that does not exist.
    """
    (root / "stacks").mkdir(parents=True)
    (root / "Pulumi.yaml").write_text("name: llm\nruntime: python\n")
    (root / "Pulumi.dev.yaml").write_text("config:\n  llm:environment: dev\n")
    commands = root / ".engine/bin"
    commands.mkdir(parents=True)
    outputs = json.dumps({"urls": {"assistant": url + "/"}})
    for name, script in {"pulumi": f"echo '{outputs}'", "gcloud": f"exec cat '{root}/token'"}.items():
        (commands / name).write_text(f"#!/bin/sh\n{script}\n")
        (commands / name).chmod(0o755)
    return root


def enter(script: Script, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Makes a checkout whose deployment is the server the working directory; it is no rehearsal.

    Other programs that a test starts find this project's code and the checkout's engine too.
    """
    made = make_project(folder / "project", script.url)
    monkeypatch.chdir(made)
    monkeypatch.setenv("PATH", f"{made / '.engine/bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    # Conversations keep their prompts there.
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "LLMSTACK_REHEARSAL"):
        monkeypatch.delenv(name, raising=False)
    return made
