"""The REST face: from a request to the handler of its method, and from what went wrong to Google's answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rehearsal.cloud import identity, run_jobs, run_services, storage, uploads
from rehearsal.cloud.aiplatform import methods as vertex_methods
from rehearsal.cloud.aiplatform.prediction import METHODS as PREDICTIONS
from rehearsal.cloud.aiplatform.prediction import PREDICT, Predictions
from rehearsal.cloud.calls import Answer, Call, Cloud, Handler
from rehearsal.cloud.discovery import Api, Routed, Router
from rehearsal.cloud.errors import ApiError
from rehearsal.cloud.internal import PREFIX, Internal
from rehearsal.cloud.recorded import inside
from rehearsal.cloud.upload_sessions import Sessions
from rehearsal.world import WorldError

_LOG = logging.getLogger(__name__)
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]
_LONGEST_BODY = 32 * 1024 * 1024
_INSERT = "storage.objects.insert"


class Face:
    """Google's APIs on one loopback port.

    Args:
        cloud: what handlers share.
        internal: the API for our own processes.
    """

    def __init__(self, cloud: Cloud, internal: Internal) -> None:
        self._cloud = cloud
        self._internal = internal
        run, files = Api("run.v2"), Api("storage.v1")
        credentials, secret_manager = Api("iamcredentials.v1"), Api("secretmanager.v1")
        vertex = Api("aiplatform.v1", below=vertex_methods.BELOW)
        self._storage = files
        self._router = Router([run, files, credentials, secret_manager, vertex])
        cloud.supervisor.operations.register(vertex_methods.works(vertex, cloud.world, cloud.supervisor))
        self._predictions = Predictions()
        self._sessions = Sessions(cloud.world.folder / "uploads")
        self._handlers: Mapping[str, Handler] = {
            **run_jobs.handlers(run),
            **run_services.handlers(run),
            **storage.handlers(files),
            **identity.credential_handlers(credentials),
            **identity.secret_handlers(secret_manager),
            **vertex_methods.handlers(vertex),
        }
        self.last_request = time.monotonic()

    def app(self) -> Starlette:
        """The ASGI application."""
        everything = [
            Route(f"{PREFIX}/{{action}}", self._guarded(self._internal.answer), methods=["POST"]),
            Route("/token", self._guarded(self._token), methods=["POST"]),
            Route("/workload/{workload}", self._guarded(self._metadata), methods=["GET"]),
            Route("/workload/{workload}/{path:path}", self._guarded(self._metadata), methods=["GET"]),
            Route("/upload/storage/v1/b/{bucket}/o", self._guarded(self._resume), methods=["PUT", "DELETE"]),
            Route("/{path:path}", self._guarded(self._api), methods=_METHODS),
        ]
        return Starlette(routes=everything)

    def _guarded(
        self, answer: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def guarded(request: Request) -> Response:
            self.last_request = time.monotonic()
            files = "/storage/v1/" in request.url.path
            try:
                return await answer(request)
            except ApiError as error:
                return error.response(storage=files)
            except WorldError as error:
                return ApiError(error.status, error.message, error.code).response(storage=files)
            except Exception as error:
                _LOG.exception("%s %s", request.method, request.url.path)
                message = f"the rehearsed cloud failed ({type(error).__name__}): see cloud.log in its folder"
                return ApiError("INTERNAL", message).response(storage=files)

        return guarded

    async def _token(self, request: Request) -> Response:
        raw = await request.body()
        return await asyncio.to_thread(identity.grant, self._cloud, raw)

    async def _metadata(self, request: Request) -> Response:
        return await asyncio.to_thread(identity.metadata, self._cloud, request)

    async def _resume(self, request: Request) -> Response:
        name = storage.bucket_name(request.path_params["bucket"])
        recorded = self._cloud.world.call("storage.googleapis.com", _INSERT, name)
        return await inside(
            recorded, uploads.resume(request, self._cloud.world, self._cloud.address, self._sessions)
        )

    async def _api(self, request: Request) -> Response:
        query = parse_qsl(request.scope["query_string"].decode(), keep_blank_values=True)
        raw_path = request.scope["raw_path"].decode()
        routed = await asyncio.to_thread(self._router.route, request.method, raw_path, query)
        method = routed.method
        member = await asyncio.to_thread(self._member, request)
        recorded = self._cloud.world.call(*_called(routed))
        if method.id == _INSERT:
            call = Call(self._cloud, method.id, method.media, routed.params, None, member, request)
            return await inside(recorded, uploads.insert(call, self._storage.schemas, self._sessions))
        raw = await _limited(request)
        if method.id in PREDICTIONS:
            # Only `predict` has a form of its own: else the body is the container's, whatever it is.
            body = method.api.body(method, raw) if method.id == PREDICT else None
            call = Call(self._cloud, method.id, method.media, routed.params, body, member, request)
            return await inside(recorded, self._predictions.answer(call, raw))
        body = method.api.body(method, raw)
        handler = self._handlers.get(method.id)
        if handler is None:
            raise ApiError("UNIMPLEMENTED", f"{method.id} is not part of the rehearsed cloud")
        call = Call(self._cloud, method.id, method.media, routed.params, body, member, request)

        def handle() -> Answer:
            with recorded:
                return handler(call)

        answer = await asyncio.to_thread(handle)
        return answer if isinstance(answer, Response) else JSONResponse(answer)

    def _member(self, request: Request) -> str | None:
        """Who calls; None without credentials.

        Raises:
            ApiError: credentials that nobody gave out, or an identity token where an access token belongs.
        """
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if not token:
            return None
        caller = self._cloud.tokens.caller(token) if scheme.lower() == "bearer" else None
        if caller is None or caller.audience is not None:
            raise ApiError(
                "UNAUTHENTICATED",
                "Request had invalid authentication credentials. Expected OAuth 2 access token, "
                "login cookie or other valid authentication credential.",
            )
        return caller.member


def _called(routed: Routed) -> tuple[str, str, str]:
    """Provider, operation and target under which the world records a call."""
    method, params = routed.method, routed.params
    service = f"{method.api.document.partition('.')[0]}.googleapis.com"
    if "object" in params or ("name" in params and "bucket" in params):
        return (
            service,
            method.id,
            storage.object_name(params["bucket"], params.get("object") or params["name"]),
        )
    if "bucket" in params:
        return service, method.id, storage.bucket_name(params["bucket"])
    path = next((params[key] for key in ("name", "endpoint", "parent") if params.get(key)), "")
    return service, method.id, f"{service}/{path}"


async def _limited(request: Request) -> bytes:
    pieces: list[bytes] = []
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > _LONGEST_BODY:
            raise ApiError(
                "INVALID_ARGUMENT", f"Request payload size exceeds the limit: {_LONGEST_BODY} bytes."
            )
        pieces.append(piece)
    return b"".join(pieces)
