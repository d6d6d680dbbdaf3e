"""Who a request comes from: OAuth's token endpoint, the metadata server, IAM credentials, Secret Manager.

The metadata server follows https://cloud.google.com/compute/docs/metadata/predefined-metadata-keys.
"""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from rehearsal.cloud.calls import Call, Cloud, Handler
from rehearsal.cloud.discovery import Api
from rehearsal.cloud.errors import ApiError
from rehearsal.cloud.tokens import PRINCIPAL, member_of
from rehearsal.runner.spec import latest_version
from rehearsal.world import project_name

_JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_FLAVOR = {"Metadata-Flavor": "Google", "Server": "Metadata Server for VM"}
_SCOPES = ["https://www.googleapis.com/auth/cloud-platform", "https://www.googleapis.com/auth/userinfo.email"]
_ACCOUNTS = "instance/service-accounts/"


def credential_handlers(api: Api) -> dict[str, Handler]:
    """Handlers of the IAM credentials API by method id."""

    def account(call: Call, permission: str) -> str:
        email = str(call.params["name"]).rpartition("/")[2]
        found = [
            r for r in call.world.list("iam.serviceAccount") if r.name.endswith(f"/serviceAccounts/{email}")
        ]
        if not found:
            raise ApiError("NOT_FOUND", f"Not found; Gaia id not found for email {email}")
        call.require(permission, found[0].name)
        return email

    def id_token(call: Call) -> dict[str, Any]:
        email = account(call, "iam.serviceAccounts.getOpenIdToken")
        audience = (call.body or {}).get("audience")
        if not audience:
            raise ApiError("INVALID_ARGUMENT", "Request contains an invalid argument: audience is required.")
        return {"token": call.cloud.tokens.identity(member_of(email), audience)}

    def access_token(call: Call) -> dict[str, Any]:
        email = account(call, "iam.serviceAccounts.getAccessToken")
        token = call.cloud.tokens.access(member_of(email))
        return {"accessToken": token["access_token"], "expireTime": call.cloud.tokens.expiry()}

    prefix = f"{api.document.partition('.')[0]}.projects.serviceAccounts"
    return {f"{prefix}.generateIdToken": id_token, f"{prefix}.generateAccessToken": access_token}


def secret_handlers(api: Api) -> dict[str, Handler]:
    """Handlers of Secret Manager by method id: what a workload that reads a secret by itself calls."""

    def get(call: Call) -> dict[str, Any]:
        name = f"secretmanager.googleapis.com/{call.params['name']}"
        call.require("secretmanager.secrets.get", name)
        record = call.world.get(name)
        if record is None:
            raise ApiError("NOT_FOUND", f"Secret [{call.params['name']}] not found.")
        return api.trim("Secret", {**record.body, "name": call.params["name"]})

    def access(call: Call) -> dict[str, Any]:
        secret, _, version = f"secretmanager.googleapis.com/{call.params['name']}".partition("/versions/")
        call.require("secretmanager.versions.access", secret)
        full = latest_version(call.world, secret) if version == "latest" else f"{secret}/versions/{version}"
        payload = call.world.secrets.get(full) if full is not None and call.world.get(full) else None
        if full is None or payload is None:
            raise ApiError("NOT_FOUND", f"Secret Version [{call.params['name']}] not found.")
        return {"name": full.partition("/")[2], "payload": {"data": base64.b64encode(payload).decode()}}

    return {
        "secretmanager.projects.secrets.get": get,
        "secretmanager.projects.secrets.versions.access": access,
    }


def grant(cloud: Cloud, raw: bytes) -> Response:
    """`POST /token`: a token for who signed the assertion. https://google.aip.dev/auth/4112."""
    form = parse_qs(raw.decode(errors="replace"))
    if form.get("grant_type") != [_JWT_GRANT]:
        return _refused("unsupported_grant_type", f"Invalid grant_type: {form.get('grant_type', [''])[0]}")
    caller, claims = cloud.tokens.assertion_caller(form.get("assertion", [""])[0])
    if caller is None:
        return _refused("invalid_grant", "Invalid JWT Signature.")
    if "target_audience" in claims:
        return JSONResponse({"id_token": cloud.tokens.identity(caller.member, claims["target_audience"])})
    return JSONResponse(cloud.tokens.access(caller.member))


def metadata(cloud: Cloud, request: Request) -> Response:
    """One workload's metadata server, below `/workload/<id>`."""
    workload, path = request.path_params["workload"], request.path_params.get("path", "")
    account = cloud.workloads.account(workload)
    if account is None:
        return PlainTextResponse(f"no workload {workload}\n", 404, _FLAVOR)
    if path in ("", "/"):
        return PlainTextResponse("computeMetadata/\n", headers=_FLAVOR)
    key = path.strip("/").removeprefix("computeMetadata/v1").strip("/")
    if key == "":
        return PlainTextResponse("instance/\nproject/\nuniverse/\n", headers=_FLAVOR)
    if request.headers.get("metadata-flavor") != "Google":
        return PlainTextResponse("Missing Metadata-Flavor:Google header.\n", 403, _FLAVOR)
    answer = _service_account(cloud, key, account, request) or _place(cloud, key, workload)
    if answer is None:
        return PlainTextResponse(f"{key} not found\n", 404, _FLAVOR)
    answer.headers.update(_FLAVOR)
    return answer


def _service_account(cloud: Cloud, key: str, holder: str, request: Request) -> Response | None:
    member, email = member_of(holder), _shown(holder)
    if not f"{key}/".startswith(_ACCOUNTS):
        return None
    account, _, field = key.removeprefix(_ACCOUNTS.rstrip("/")).strip("/").partition("/")
    if account not in ("", "default", email):
        return None
    facts = {"aliases": ["default"], "email": email, "scopes": _SCOPES}
    if field == "token":
        return JSONResponse(cloud.tokens.access(member))
    if field == "identity":
        audience = request.query_params.get("audience")
        if not audience:
            return PlainTextResponse("non-empty audience parameter required\n", 400)
        return PlainTextResponse(cloud.tokens.identity(member, audience))
    if request.query_params.get("recursive", "").lower() == "true" and not field:
        return JSONResponse(facts if account else {"default": facts, email: facts})
    texts = {"email": email, "scopes": "\n".join(_SCOPES), "aliases": "default"}
    if field:
        return PlainTextResponse(texts[field]) if field in texts else None
    return PlainTextResponse(
        "aliases\nemail\nidentity\nscopes\ntoken\n" if account else f"default/\n{email}/\n"
    )


def _shown(account: str) -> str:
    """The address of an account; pods that are a member by themselves show their workload pool.

    https://cloud.google.com/kubernetes-engine/docs/concepts/workload-identity (metadata server)
    """
    if not account.startswith(PRINCIPAL):
        return account
    return account.partition("/workloadIdentityPools/")[2].partition("/")[0]


def _place(cloud: Cloud, key: str, workload: str) -> Response | None:
    facts = next((facts for facts in cloud.workloads.all() if facts.id == workload), None)
    if facts is None:
        return None
    _, _, project, _, region, *_ = facts.owner.split("/")
    record = cloud.world.get(project_name(project))
    number = str(record.body["number"]) if record is not None else "0"
    texts = {
        "project/project-id": project,
        "project/numeric-project-id": number,
        "instance/region": f"projects/{number}/regions/{region}",
        "instance/zone": f"projects/{number}/zones/{region}-1",
        "instance/id": facts.id,
        "universe/universe-domain": "googleapis.com",
    }
    return PlainTextResponse(texts[key]) if key in texts else None


def _refused(error: str, description: str) -> Response:
    return JSONResponse({"error": error, "error_description": description}, status_code=400)
