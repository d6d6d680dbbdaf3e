"""What answers behind a rehearsed TPU pod's port, where no engine can run: its API, with a text that says so.

It speaks as JetStream's HTTP front does (github.com/GoogleCloudPlatform/ai-on-gke, inference-servers/
jetstream/http-server) and as vLLM with a model that has no chat template (docs.vllm.ai, OpenAI-compatible
server).
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from rehearsal.cloud.servers import Server, bind

MODEL = "rehearsed"
_NO_TEMPLATE = "there is no chat template in a rehearsal"
_TIMEOUT_SECONDS = 10.0


class EngineStub:
    """Serves on loopback until it is stopped."""

    def __init__(self) -> None:
        self._listening = bind(0)
        routes = [
            Route("/generate", _generate, methods=["POST"]),
            Route("/healthcheck", _healthy),
            Route("/health", _healthy),
            Route("/v1/models", _models),
            Route("/v1/completions", _complete, methods=["POST"]),
            Route("/v1/chat/completions", _chat, methods=["POST"]),
        ]
        config = uvicorn.Config(
            Starlette(routes=routes), log_config=None, lifespan="off", ws="none", timeout_graceful_shutdown=1
        )
        self._server = Server(config)
        sockets = {"sockets": [self._listening]}
        self._thread = threading.Thread(target=self._server.run, kwargs=sockets, daemon=True)

    def start(self) -> None:
        """Answer from here on."""
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._server.should_exit = True
        self._thread.join()

    def reach(self, namespace: str, pod: str, port: int) -> socket.socket:
        """Connects to it, as if it were a port of a pod: every pod has the same engine."""
        del namespace, pod, port
        return socket.create_connection(self._listening.getsockname(), _TIMEOUT_SECONDS)


def answer(prompt: str) -> str:
    """What it says to a prompt."""
    words = len(prompt.split())
    return (
        f"(A rehearsal has no TPU, so no model read this prompt of {words} word{'s' if words != 1 else ''}.)"
    )


async def _healthy(_: Request) -> Response:
    return Response(status_code=200)


async def _generate(request: Request) -> Response:
    asked = await request.json()
    return JSONResponse({"response": answer(str(asked.get("prompt", "")))})


async def _models(_: Request) -> Response:
    return JSONResponse({"object": "list", "data": [{"id": MODEL, "object": "model"}]})


async def _chat(_: Request) -> Response:
    return JSONResponse({"object": "error", "message": _NO_TEMPLATE, "code": 400}, 400)


async def _complete(request: Request) -> Response:
    asked = await request.json()
    prompt = str(asked.get("prompt", ""))
    text = answer(prompt)
    usage = {"prompt_tokens": len(prompt.split()), "completion_tokens": len(text.split())}
    if asked.get("stream"):
        return StreamingResponse(_events(text, usage), media_type="text/event-stream")
    return JSONResponse({"model": MODEL, "choices": [_choice(text, "stop")], "usage": usage})


def _events(text: str, usage: dict[str, int]) -> Iterator[str]:
    for word in text.split(" "):
        yield _event({"choices": [_choice(f"{word} ", None)]})
    yield _event({"choices": [_choice("", "stop")]})
    yield _event({"choices": [], "usage": usage})
    yield "data: [DONE]\n\n"


def _choice(text: str, finish: str | None) -> dict[str, Any]:
    return {"index": 0, "text": text, "finish_reason": finish}


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data)}\n\n"
