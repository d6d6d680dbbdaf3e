"""Health, readiness and metrics: what platforms ask."""

from __future__ import annotations

from fastapi import Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from serve.api.schemas import State
from serve.api.service import Service
from serve.health import Status


class Probes:
    """One method for each route, of the name that the contract gives it."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def health(self) -> Response:
        """200 while the process is well, loading included; 503 when only a restart helps."""
        death = self._service.host.death
        return _state(200, "ok") if death is None else _state(503, "dead", death)

    async def ready(self) -> Response:
        """200 when the model answers and the server takes requests, else 503."""
        host = self._service.host
        if self._service.gate.draining:
            return _state(503, "shutting down")
        status = 200 if host.status is Status.READY else 503
        return _state(status, host.status.value, host.death or "")

    async def metrics(self) -> Response:
        """Prometheus metrics."""
        return Response(generate_latest(self._service.metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _state(status: int, text: str, detail: str = "") -> Response:
    return JSONResponse(State(status=text, detail=detail).model_dump(), status)
