"""The HTTP sides of JetStream's front and of vLLM on loopback, as a test scripts them; no model."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from rehearsal.cloud.servers import Server, bind

MODEL = "meta-llama/Llama-2-7b-hf"
NO_TEMPLATE = (
    "As of transformers v4.44, default chat template is no longer allowed, so you must provide a chat "
    "template if the tokenizer does not define one."
)
"""What vLLM says to a conversation with a model that has none."""


@dataclass
class Engine:
    """What the server does, and what it was asked.

    Args:
        pieces: the pieces of every answer.
        template: whether vLLM's model has a chat template.
        failure: what JetStream's front answers 500 with; empty where it does not.
        bodies: what was asked, each with its path.
    """

    pieces: tuple[str, ...] = ("Hello", ", ", "world")
    template: bool = False
    failure: str = ""
    bodies: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    port: int = 0


@contextmanager
def running(engine: Engine) -> Iterator[Engine]:
    """Serves both APIs; `port` says where."""
    listening = bind(0)
    engine.port = listening.getsockname()[1]
    app = _App(engine)
    routes = [
        Route("/generate", app.generate, methods=["POST"]),
        Route("/v1/models", app.models),
        Route("/v1/chat/completions", app.chat, methods=["POST"]),
        Route("/v1/completions", app.completions, methods=["POST"]),
    ]
    config = uvicorn.Config(Starlette(routes=routes), log_config=None, lifespan="off", ws="none")
    config.timeout_graceful_shutdown = 1
    server = Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield engine
    finally:
        server.should_exit = True
        thread.join()


class _App:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def generate(self, request: Request) -> Response:
        await self._asked(request)
        if self._engine.failure:
            return JSONResponse({"detail": self._engine.failure}, 500)
        return JSONResponse({"response": "".join(self._engine.pieces)})

    async def models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": MODEL}]})

    async def chat(self, request: Request) -> Response:
        await self._asked(request)
        if not self._engine.template:
            said = {"object": "error", "message": NO_TEMPLATE, "type": "BadRequestError", "code": 400}
            return JSONResponse(said, 400)
        return self._stream(lambda text: {"delta": {"content": text}})

    async def completions(self, request: Request) -> Response:
        body = await self._asked(request)
        if body.get("stream"):
            return self._stream(lambda text: {"text": text})
        text = "".join(self._engine.pieces)
        choice = {"index": 0, "text": text, "finish_reason": "stop"}
        return JSONResponse({"model": MODEL, "choices": [choice], "usage": self._usage()})

    async def _asked(self, request: Request) -> dict[str, Any]:
        body: dict[str, Any] = await request.json()
        self._engine.bodies.append((request.url.path, body))
        return body

    def _stream(self, choice: Any) -> Response:
        async def events() -> AsyncIterator[str]:
            for piece in self._engine.pieces:
                yield _event({"choices": [{"index": 0, "finish_reason": None, **choice(piece)}]})
            yield _event({"choices": [{"index": 0, "finish_reason": "stop", **choice("")}]})
            yield _event({"choices": [], "usage": self._usage()})
            yield "data: [DONE]\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")

    def _usage(self) -> dict[str, int]:
        return {"prompt_tokens": 2, "completion_tokens": len(self._engine.pieces)}


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data)}\n\n"
