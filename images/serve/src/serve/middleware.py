"""Counts and logs every request once it is over."""

from __future__ import annotations

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve import contract
from serve.errors import CLIENT_LEFT
from serve.metrics import Metrics

LOG = logging.getLogger("serve.request")
OUTCOME = "serve.outcome"
"""Key of the request's scope under which a handler leaves figures for the log."""


class RequestLog:
    """ASGI middleware: one log line and one count per request, with figures but without any text of it."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics
        self._routes = {route.path: name for name, route in contract.load().routes.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on and notes its end."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = CLIENT_LEFT
        started = time.monotonic()
        scope[OUTCOME] = {}

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            self._note(scope, status, time.monotonic() - started)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        # A label for each path that anybody may think of would let the metrics grow without bound.
        route = self._routes.get(scope["path"], "other")
        outcome = scope[OUTCOME]
        status = outcome.pop("status", status)
        self._metrics.requests.labels(route, status).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        if route in ("predict", "generate"):
            LOG.info(
                "request", extra={"route": route, "status": status, "seconds": round(seconds, 4)} | outcome
            )
