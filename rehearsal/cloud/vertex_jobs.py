"""Vertex AI v1: custom jobs.

What a request may hold is checked by Google's discovery document first, then by the rows of
`rehearsal/data/refusals` that are about `REQUEST`. A custom job's number, and the project's number in its
name, are given as Google gives them.
"""

from __future__ import annotations

import logging
import re
import secrets
from typing import Any

from rehearsal.cloud.calls import Call, Handler
from rehearsal.cloud.custom_jobs import KIND, is_running
from rehearsal.cloud.discovery import Api
from rehearsal.cloud.errors import STATUSES, ApiError
from rehearsal.cloud.run_names import page
from rehearsal.standins.gcp.models import RULES
from rehearsal.standins.model import Cloud
from rehearsal.standins.names import account_name, project_id
from rehearsal.standins.refusals import refused
from rehearsal.world import Record

BELOW = ("projects", "locations", "customJobs")
REQUEST = "aiplatform.v1:CustomJob"
"""Under which `rehearsal/data/refusals` has what is refused of a request to create a custom job."""
_SERVICE = "aiplatform.googleapis.com"
_SCHEMA = "GoogleCloudAiplatformV1CustomJob"
_TERM = re.compile(r'\s*(?P<field>display_name|state)\s*=\s*"(?P<value>[^"]*)"\s*')
_LOG = logging.getLogger(__name__)

assert RULES, "the predicates are known once their modules are imported"


def handlers(api: Api) -> dict[str, Handler]:
    """Handlers by method id."""

    def show(call: Call, record: Record) -> dict[str, Any]:
        _, _, project, *rest = record.name.split("/")
        number = _cloud(call, project, "").project_number(project)
        return api.trim(_SCHEMA, {**record.body, "name": "/".join(["projects", number, *rest])})

    def create(call: Call) -> dict[str, Any]:
        parent = _full(call, call.params["parent"])
        call.require("aiplatform.customJobs.create", parent)
        body = call.body or {}
        _check(call, parent, body)
        account = body["jobSpec"].get("serviceAccount")
        if account:
            call.require("iam.serviceAccounts.actAs", account_name(account))
        now = call.world.now()
        name = f"{parent}/customJobs/{secrets.randbelow(9 * 10**18) + 10**18}"
        times = {"createTime": now, "updateTime": now}
        record = call.world.insert(KIND, name, {**body, **times, "state": "JOB_STATE_PENDING"})
        call.cloud.soon(lambda: call.cloud.supervisor.custom_jobs.begin(name))
        return show(call, record)

    def get(call: Call) -> dict[str, Any]:
        return show(call, _existing(call, "aiplatform.customJobs.get"))

    def listing(call: Call) -> dict[str, Any]:
        parent = _full(call, call.params["parent"])
        call.require("aiplatform.customJobs.list", parent)
        records = call.world.list(KIND, f"{parent}/customJobs/")
        wanted = _filtered(records, call.params.get("filter") or "")
        newest = sorted(wanted, key=lambda record: record.created, reverse=True)
        found, following = page(newest, call)
        return {"customJobs": [show(call, record) for record in found], "nextPageToken": following}

    def cancel(call: Call) -> dict[str, Any]:
        record = _existing(call, "aiplatform.customJobs.cancel")
        if not is_running(record.body):
            raise ApiError("FAILED_PRECONDITION", f"The custom job {record.name} has ended already.")
        call.world.edit(record.name, lambda body: {**body, "state": "JOB_STATE_CANCELLING"})
        call.cloud.wait(call.cloud.supervisor.custom_jobs.cancel(record.name))
        return {}

    def delete(call: Call) -> dict[str, Any]:
        record = _existing(call, "aiplatform.customJobs.delete")
        if is_running(record.body):
            raise ApiError(
                "FAILED_PRECONDITION", f"The custom job {record.name} still runs: cancel it first."
            )
        call.world.delete(record.name)
        call.cloud.workloads.forget(record.name)
        return {"name": f"{call.params['name']}/operations/1", "done": True}

    prefix = f"aiplatform.{'.'.join(BELOW)}"
    return {
        f"{prefix}.create": create,
        f"{prefix}.get": get,
        f"{prefix}.list": listing,
        f"{prefix}.cancel": cancel,
        f"{prefix}.delete": delete,
    }


def _check(call: Call, parent: str, body: dict[str, Any]) -> None:
    """Refuse what Google refuses, with all reasons at once.

    Raises:
        ApiError: a row refuses the request.
    """
    _, _, project, _, location = parent.split("/")
    cloud = _cloud(call, project, location)
    inputs = {**body, "project": project, "location": location}
    for stage in ("check", "apply"):
        found = refused(REQUEST, stage, cloud, inputs)
        if found:
            code = found[0][0].code
            status = next(name for name, number in STATUSES.items() if number == code)
            raise ApiError(status, "; ".join(message for _, message in found))


def _existing(call: Call, permission: str) -> Record:
    name = _full(call, call.params["name"])
    call.require(permission, name)
    record = call.world.get(name)
    if record is None or record.kind != KIND:
        raise ApiError("NOT_FOUND", f"The CustomJob does not exist: {call.params['name']}")
    return record


def _full(call: Call, name: str) -> str:
    """The world's name of an API name; a project's number becomes its id."""
    _, project, *rest = name.split("/")
    return "/".join([_SERVICE, "projects", project_id(_cloud(call, project, ""), project), *rest])


def _cloud(call: Call, project: str, location: str) -> Cloud:
    return Cloud(call.world, project, location, warn=lambda text: _LOG.warning("%s", text))


def _filtered(records: list[Record], text: str) -> list[Record]:
    """Those that a filter of terms joined by OR selects.

    Raises:
        ApiError: the filter has something else in it, which is not modelled here.
    """
    if not text.strip():
        return records
    terms = [_TERM.fullmatch(term) for term in text.split(" OR ")]
    names = {"display_name": "displayName", "state": "state"}
    wanted = {(names[term["field"]], term["value"]) for term in terms if term}
    if len(terms) != sum(term is not None for term in terms):
        raise ApiError("INVALID_ARGUMENT", f"the filter {text!r} is not modelled by the rehearsed cloud")
    return [record for record in records if wanted & {(key, record.body.get(key)) for key in names.values()}]
