"""Google's APIs for a project's preparation, on one loopback port.

Requests are routed and checked by Google's own discovery documents, as in `rehearsal.cloud.face`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache, cached_property
from typing import Any
from urllib.parse import parse_qsl

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rehearsal.cloud import bootstrap_handlers as do
from rehearsal.cloud.bootstrap_handlers import Asked, Handler
from rehearsal.cloud.bootstrap_state import ProjectState
from rehearsal.cloud.discovery import Api, Method, Routed, Router
from rehearsal.cloud.errors import ApiError, denied
from rehearsal.cloud.servers import Server, bind

CALLER = "user:owner@example.com"
_POOLS = "iam.projects.locations.workloadIdentityPools"
_KEYS = "cloudkms.projects.locations.keyRings"
_ACCOUNTS = "iam.projects.serviceAccounts"

# Method, the permission that Google asks the caller to have (each method's reference page), and its handler.
_READS: Mapping[str, tuple[str, Handler]] = {
    "cloudresourcemanager.projects.get": ("resourcemanager.projects.get", do.project_get),
    "cloudresourcemanager.projects.getIamPolicy": (
        "resourcemanager.projects.getIamPolicy",
        do.project_policy,
    ),
    "serviceusage.services.batchGet": ("serviceusage.services.get", do.services_get),
    "serviceusage.operations.get": ("serviceusage.operations.get", do.operation_get),
    f"{_KEYS}.get": ("cloudkms.keyRings.get", do.get("cloudkms")),
    f"{_KEYS}.cryptoKeys.get": ("cloudkms.cryptoKeys.get", do.get("cloudkms")),
    f"{_KEYS}.cryptoKeys.getIamPolicy": ("cloudkms.cryptoKeys.getIamPolicy", do.resource_policy("cloudkms")),
    f"{_ACCOUNTS}.get": ("iam.serviceAccounts.get", do.get("iam")),
    f"{_ACCOUNTS}.getIamPolicy": ("iam.serviceAccounts.getIamPolicy", do.resource_policy("iam")),
    f"{_POOLS}.get": ("iam.workloadIdentityPools.get", do.get("iam")),
    f"{_POOLS}.operations.get": ("iam.workloadIdentityPools.get", do.operation_get),
    f"{_POOLS}.providers.get": ("iam.workloadIdentityPoolProviders.get", do.get("iam")),
    f"{_POOLS}.providers.operations.get": ("iam.workloadIdentityPoolProviders.get", do.operation_get),
    "storage.buckets.get": ("storage.buckets.get", do.bucket_get),
    "storage.buckets.getIamPolicy": ("storage.buckets.getIamPolicy", do.resource_policy("storage")),
}
WRITES: Mapping[str, tuple[str, Handler]] = {
    "cloudresourcemanager.projects.setIamPolicy": (
        "resourcemanager.projects.setIamPolicy",
        do.set_policy("cloudresourcemanager"),
    ),
    "serviceusage.services.batchEnable": ("serviceusage.services.enable", do.services_enable),
    f"{_KEYS}.create": ("cloudkms.keyRings.create", do.ring_create),
    f"{_KEYS}.cryptoKeys.create": ("cloudkms.cryptoKeys.create", do.key_create),
    f"{_KEYS}.cryptoKeys.patch": ("cloudkms.cryptoKeys.update", do.key_patch),
    f"{_KEYS}.cryptoKeys.setIamPolicy": ("cloudkms.cryptoKeys.setIamPolicy", do.set_policy("cloudkms")),
    f"{_ACCOUNTS}.create": ("iam.serviceAccounts.create", do.account_create),
    f"{_ACCOUNTS}.patch": ("iam.serviceAccounts.update", do.account_patch),
    f"{_ACCOUNTS}.enable": ("iam.serviceAccounts.enable", do.account_enable),
    f"{_ACCOUNTS}.setIamPolicy": ("iam.serviceAccounts.setIamPolicy", do.set_policy("iam")),
    f"{_POOLS}.create": (
        "iam.workloadIdentityPools.create",
        do.federation_create("workloadIdentityPools", "workloadIdentityPoolId"),
    ),
    f"{_POOLS}.patch": ("iam.workloadIdentityPools.update", do.federation_patch),
    f"{_POOLS}.undelete": ("iam.workloadIdentityPools.undelete", do.federation_undelete),
    f"{_POOLS}.providers.create": (
        "iam.workloadIdentityPoolProviders.create",
        do.federation_create("providers", "workloadIdentityPoolProviderId"),
    ),
    f"{_POOLS}.providers.patch": ("iam.workloadIdentityPoolProviders.update", do.federation_patch),
    f"{_POOLS}.providers.undelete": ("iam.workloadIdentityPoolProviders.undelete", do.federation_undelete),
    "storage.buckets.insert": ("storage.buckets.create", do.bucket_insert),
    "storage.buckets.patch": ("storage.buckets.update", do.bucket_patch),
    "storage.buckets.setIamPolicy": ("storage.buckets.setIamPolicy", do.set_bucket_policy),
}
"""The methods that change something."""


class _VerbsFirst(Api):
    """An API whose paths that end in a verb, `…/keys/k:getIamPolicy`, come before those that end in a name.

    The patterns of names in these documents match a colon too.
    """

    @cached_property
    def methods(self) -> tuple[Method, ...]:
        return tuple(sorted(super().methods, key=lambda method: ":" not in method.description["path"]))


@cache
def _router() -> Router:
    documents = ("cloudresourcemanager.v3", "serviceusage.v1", "cloudkms.v1", "iam.v1", "storage.v1")
    return Router([_VerbsFirst(document) for document in documents])


def application(state: ProjectState) -> Starlette:
    """The ASGI application that answers for one project."""

    async def api(request: Request) -> Response:
        storage = request.url.path.startswith("/storage/v1/")
        try:
            return JSONResponse(_answer(state, request, await request.body()))
        except ApiError as error:
            return error.response(storage=storage)
        except _ApiOffError as error:
            return JSONResponse({"error": error.content}, 403)

    async def token(_request: Request) -> Response:
        return JSONResponse({"access_token": "rehearsed", "token_type": "Bearer", "expires_in": 3600})

    methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    return Starlette(
        routes=[Route("/token", token, methods=["POST"]), Route("/{path:path}", api, methods=methods)]
    )


@contextmanager
def serving(state: ProjectState) -> Iterator[str]:
    """Answers for a project on a loopback port, whose address it gives, until the block ends."""
    listening = bind(0)
    server = Server(uvicorn.Config(application(state), log_config=None, access_log=False, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


class _ApiOffError(Exception):
    def __init__(self, state: ProjectState, service: str) -> None:
        message = (
            f"{service} has not been used in project {state.number} before or it is disabled. Enable it. "
            "If you enabled this API recently, wait a few minutes for the action to propagate."
        )
        metadata = {"service": service, "consumer": f"projects/{state.number}"}
        detail = {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "SERVICE_DISABLED",
            "domain": "googleapis.com",
            "metadata": metadata,
        }
        super().__init__(message)
        self.content = {"code": 403, "message": message, "status": "PERMISSION_DENIED", "details": [detail]}


def _answer(state: ProjectState, request: Request, raw: bytes) -> dict[str, Any]:
    if not request.headers.get("authorization", "").startswith("Bearer "):
        raise denied("any", "any", None)
    query = parse_qsl(request.scope["query_string"].decode(), keep_blank_values=True)
    routed = _router().route(request.method, request.scope["raw_path"].decode(), query)
    method = routed.method
    body = method.api.body(method, raw)
    if state.busy > 0:
        state.busy -= 1
        raise ApiError("UNAVAILABLE", "The service is currently unavailable.")
    found = _READS.get(method.id) or WRITES.get(method.id)
    if found is None:
        raise ApiError("UNIMPLEMENTED", f"{method.id} is not part of a rehearsed preparation")
    permission, handler = found
    _check(state, routed, permission)
    state.calls.append(method.id)
    return method.api.trim(_response(routed), handler(Asked(state, routed.params, body or {})))


def _check(state: ProjectState, routed: Routed, permission: str) -> None:
    service = f"{routed.method.api.document.partition('.')[0]}.googleapis.com"
    if service not in state.enabled:
        raise _ApiOffError(state, service)
    params = routed.params
    named = [params[key] for key in ("name", "resource", "parent") if key in params]
    wrong_project = (
        routed.method.id.startswith("cloudresourcemanager") and named[0] != f"projects/{state.project}"
    )
    if permission in state.denied or wrong_project:
        raise denied(permission, str(named[0] if named else params.get("bucket", state.project)), CALLER)


def _response(routed: Routed) -> str:
    name: str = routed.method.description["response"]["$ref"]
    return name
