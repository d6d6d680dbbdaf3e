"""The application: routes, refusals, and the engine's life within it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from serve import __version__, contract, manifest
from serve.api import pages
from serve.api.middleware import REQUEST_ID, RequestLog, outcome_of
from serve.api.native import Native
from serve.api.openai import OpenAI
from serve.api.probes import Probes
from serve.api.service import Service
from serve.download import download
from serve.engines.base import Engine, EngineSettings
from serve.errors import ApiError
from serve.health import Host, engine_dead
from serve.metrics import Metrics
from serve.queueing import Gate
from serve.settings import Settings

OPENAI_PREFIX = "/v1/"


def create_service(
    settings: Settings, make_engine: Callable[[], Engine], on_death: Callable[[], None]
) -> Service:
    """Puts together what the routes work with.

    Args:
        settings: the server's settings.
        make_engine: makes the engine; called off the event loop when the application starts.
        on_death: called when the engine will answer nothing any more.
    """
    gate = Gate(settings.max_queue, settings.request_seconds)

    def dead() -> None:
        gate.abort(engine_dead())
        on_death()

    def fetch() -> None:
        if settings.download_from is not None:
            download(settings.download_from, settings.model_path)
            manifest.check(settings.model_path, settings.engine)

    bounds = engine_settings(settings)
    host = Host(make_engine, settings.model_path, bounds, settings.stall_seconds, dead, fetch)
    return Service(settings, gate, host, Metrics(gate, host))


def engine_settings(settings: Settings) -> EngineSettings:
    """What the engine is told of the server's settings."""
    return EngineSettings(
        dtype=settings.dtype,
        threads=settings.threads,
        max_batch=min(settings.max_batch, settings.max_queue),
        max_batch_tokens=settings.max_batch_tokens,
        # The gate is the bound that clients meet; the engine's own is there so that it is never the tighter.
        max_waiting=settings.max_queue + 1,
        cache_tokens=settings.cache_tokens,
    )


def create_app(service: Service) -> FastAPI:
    """Builds the application: the contract's routes, and the two paths that Vertex AI chooses.

    Args:
        service: not yet started; it is started with the application, and its engine closed with it.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        running = asyncio.ensure_future(service.host.run())
        yield
        running.cancel()

    settings = service.settings
    app = FastAPI(
        title="serve",
        version=__version__,
        summary=settings.model_name,
        lifespan=lifespan,
        # Behind a platform's front end the address to go to would be http://, and the prompt sent in clear.
        redirect_slashes=False,
    )
    routes = all_routes(settings)
    _add_routes(app, _handlers(service), routes)
    _add_refusals(app, {path for (_, path), name in routes.items() if name == "predict"})
    app.add_middleware(RequestLog, metrics=service.metrics)
    pages.describe(app)
    return app


def all_routes(settings: Settings) -> dict[tuple[str, str], str]:
    """The name of each route by its method and path: the contract's, and those that Vertex AI chose.

    Vertex AI asks for health at one path and predicts at another. Its health check decides whether requests
    are sent, so it is answered as readiness is, also at a path of ours. A path of ours that it is given for
    predictions keeps its own meaning: that is what rawPredict is for.
    https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements#health
    """
    table = contract.load().routes
    ours = {(route.method, route.path): name for name, route in table.items()}
    health, predict = settings.vertex_health_route, settings.vertex_predict_route
    first = {} if health is None else {(table["ready"].method, health): "ready"}
    if predict is not None and (table["predict"].method, predict) not in ours:
        first[table["predict"].method, predict] = "predict"
    # Vertex AI's come first, since the path of a model matches whatever begins as it does.
    return first | {key: name for key, name in ours.items() if key not in first}


def _handlers(service: Service) -> dict[str, Callable[..., Any]]:
    groups = (Native(service), OpenAI(service), Probes(service))
    names = contract.load().routes
    return {name: getattr(group, name) for group in groups for name in names if hasattr(group, name)}


def _add_routes(
    app: FastAPI, handlers: Mapping[str, Callable[..., Any]], routes: Mapping[tuple[str, str], str]
) -> None:
    described = pages.descriptions()
    for (method, path), name in routes.items():
        # The name of a model has a slash, which a plain path parameter would not match.
        app.add_api_route(
            path.replace("{model}", "{model:path}"),
            handlers[name],
            methods=[method],
            name=name,
            operation_id=f"{name}{path}",
            **described[name],
        )


def _add_refusals(app: FastAPI, native: set[str]) -> None:
    """Lets every refusal be of the form that the path's clients know."""

    def refuse(request: Request, error: ApiError) -> Response:
        path = request.scope["path"]
        if path.startswith(OPENAI_PREFIX) and path not in native:
            return JSONResponse(error.openai_body(), error.openai_status, error.headers)
        return JSONResponse(error.body(), error.status, error.headers)

    async def refuse_own(request: Request, error: Any) -> Response:
        return refuse(request, error)

    async def refuse_http(request: Request, error: Any) -> Response:
        code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
        response = refuse(request, ApiError(error.status_code, code, error.detail))
        response.headers.update(error.headers or {})
        return response

    async def refuse_unexpected(request: Request, _: Exception) -> Response:
        error = ApiError(500, "internal_error", "the server made a mistake; its log says more")
        response = refuse(request, error)
        # Sent from outside of what gives every other response its id.
        response.headers[REQUEST_ID] = outcome_of(request).request_id
        return response

    app.add_exception_handler(ApiError, refuse_own)
    app.add_exception_handler(HTTPException, refuse_http)
    app.add_exception_handler(Exception, refuse_unexpected)
