"""What is checked of a request to Vertex AI beyond types: who asks, what is there, what is required."""

from __future__ import annotations

import logging
from typing import Any

from rehearsal.cloud.aiplatform.names import camel, full, place
from rehearsal.cloud.calls import Call
from rehearsal.cloud.discovery import Api
from rehearsal.cloud.errors import STATUSES, ApiError
from rehearsal.standins.gcp.models import RULES
from rehearsal.standins.model import Cloud
from rehearsal.standins.names import account_name
from rehearsal.standins.refusals import refused
from rehearsal.world import Record, World

_LOG = logging.getLogger(__name__)

assert RULES, "the predicates are known once their modules are imported"


def existing(call: Call, permission: str, name: str, kind: str) -> Record:
    """The record behind an API name, once the caller may see it.

    Raises:
        ApiError: 401, 403, or 404 when there is none of that kind.
    """
    wanted = full(call.world, name)
    call.require(permission, wanted)
    record = call.world.get(wanted)
    if record is None or record.kind != kind:
        raise missing(kind, name)
    return record


def missing(kind: str, name: str) -> ApiError:
    """Google's 404."""
    what = kind.partition(".")[2]
    return ApiError("NOT_FOUND", f"The {what[0].upper()}{what[1:]} does not exist: {name}")


def require_fields(api: Api, call: Call) -> dict[str, Any]:
    """The body of a request that has all that the discovery document calls required.

    Raises:
        ApiError: fields are missing; they are named.
    """
    method = next(method for method in api.methods if method.id == call.method)
    body = call.body or {}
    absent = api.missing(method, body)
    if absent:
        raise ApiError("INVALID_ARGUMENT", f"Required field is not set: {', '.join(absent)}")
    return body


def require_account(call: Call, account: str | None) -> None:
    """Refuse a caller who may not act as the service account that something is to run as."""
    if account:
        call.require("iam.serviceAccounts.actAs", account_name(account))


def check(world: World, parent: str, request: str, body: dict[str, Any]) -> None:
    """Refuse what the rows of `rehearsal/data/refusals` about a request refuse, with all reasons at once.

    Args:
        world: the rehearsal's world.
        parent: the location, as the world names it.
        request: under which the rows are, for instance `aiplatform.v1:Model`.
        body: the resource that is to be made.

    Raises:
        ApiError: a row refuses the request.
    """
    project, location = place(parent)
    cloud = Cloud(world, project, location, warn=lambda text: _LOG.warning("%s", text))
    inputs = {**body, "project": project, "location": location}
    for stage in ("check", "apply"):
        found = refused(request, stage, cloud, inputs)
        if found:
            code = found[0][0].code
            status = next(name for name, number in STATUSES.items() if number == code)
            raise ApiError(status, "; ".join(message for _, message in found))


def masked(mask: str | None) -> list[str]:
    """The field paths of an update mask; snake_case is taken as camelCase, as Google does.

    Raises:
        ApiError: there is no mask.
    """
    paths = [path.strip() for path in (mask or "").split(",") if path.strip()]
    if not paths:
        raise ApiError("INVALID_ARGUMENT", "Required parameter: updateMask")
    return [camel(path) for path in paths]
