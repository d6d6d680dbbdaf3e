"""Counts and logs every request once it is over, and gives each an id."""

from __future__ import annotations

import logging
import re
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve import contract
from serve.api.answers import Answer
from serve.errors import CLIENT_LEFT
from serve.metrics import Metrics

LOG = logging.getLogger("serve.request")
REQUEST_ID = "X-Request-Id"
GENERATING = ("predict", "generate", "completions", "chat_completions")
_OUTCOME = "serve.outcome"
_SANE_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)


@dataclass(slots=True)
class Outcome:
    """What handlers leave for the request's log line."""

    request_id: str
    status: int | None = None
    """Where it is not the response's own: a stream that failed, a client that left."""
    answers: list[Answer] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        """Numbers only; no text of prompt or answer."""
        if not self.answers:
            return {}
        firsts = [each.first_token_seconds for each in self.answers if each.first_token_seconds is not None]
        reasons = {each.finish_reason.value for each in self.answers if each.finish_reason is not None}
        figures: dict[str, Any] = {
            "answers": len(self.answers),
            "prompt_tokens": sum(each.prompt_tokens for each in self.answers),
            "generated_tokens": sum(each.generated_tokens for each in self.answers),
        }
        if firsts:
            figures["first_token_seconds"] = round(min(firsts), 4)
        if reasons:
            figures["finish_reason"] = ",".join(sorted(reasons))
        return figures


def outcome_of(request: HTTPConnection) -> Outcome:
    """The outcome that goes with a request."""
    outcome: Outcome = request.scope[_OUTCOME]
    return outcome


class RequestLog:
    """ASGI middleware: one log line and one count per request, with figures but without any text of it.

    Args:
        app: what answers.
        metrics: counts requests.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on and notes its end."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = CLIENT_LEFT
        started = time.monotonic()
        given = Headers(scope=scope).get(REQUEST_ID, "")
        outcome = Outcome(given if _SANE_ID.fullmatch(given) else uuid.uuid4().hex)
        scope[_OUTCOME] = outcome

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = outcome.request_id
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception:
            # Answered outside of this, by the handler of what nobody expected.
            outcome.status = 500
            raise
        finally:
            self._note(_route(scope), outcome, outcome.status or status, time.monotonic() - started)

    def _note(self, route: str, outcome: Outcome, status: int, seconds: float) -> None:
        self._metrics.requests.labels(route, status).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        if route in GENERATING:
            line = {"route": route, "status": status, "seconds": round(seconds, 4)}
            LOG.info("request", extra=line | {"request_id": outcome.request_id} | outcome.figures())


def _route(scope: Scope) -> str:
    """The route's name in the contract."""
    # A label for each path that anybody may think of would let the metrics grow without bound.
    name: str = getattr(scope.get("route"), "name", "other")
    return name if name in contract.load().routes else "other"
