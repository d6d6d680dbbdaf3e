"""What the methods of Google's APIs do that a project's preparation calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rehearsal.cloud.bootstrap_policies import read_policy, write_policy
from rehearsal.cloud.bootstrap_state import Json, ProjectState
from rehearsal.cloud.errors import ApiError

_MAX_ENABLE = 20
"""Discovery document serviceusage.v1, BatchEnableServicesRequest.serviceIds."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, checked against its discovery document."""

    state: ProjectState
    params: Mapping[str, Any]
    body: Json

    def policy(self, service: str, *, status: str = "ABORTED", code: int = 409) -> tuple[str, ApiError]:
        """The resource whose policy is meant, which must exist, and the refusal of an old etag."""
        name = f"{service}/{self.params.get('resource') or self.params['bucket']}"
        if service != "cloudresourcemanager":
            self.state.get(name)
        return name, ApiError(status, "There were concurrent policy changes. Please retry.", code)


Handler = Callable[[Asked], Json]


def project_get(asked: Asked) -> Json:
    """`cloudresourcemanager.projects.get`."""
    state = asked.state
    return {
        "name": f"projects/{state.number}",
        "projectId": state.project,
        "state": state.lifecycle,
    }


def project_policy(asked: Asked) -> Json:
    """`cloudresourcemanager.projects.getIamPolicy`."""
    version = asked.body.get("options", {}).get("requestedPolicyVersion", 1)
    return read_policy(asked.state, asked.policy("cloudresourcemanager")[0], version)


def resource_policy(service: str) -> Handler:
    """`getIamPolicy` of the other APIs, which take the version as a parameter."""

    def handle(asked: Asked) -> Json:
        version = asked.params.get("options.requestedPolicyVersion") or asked.params.get(
            "optionsRequestedPolicyVersion", 1
        )
        return read_policy(asked.state, asked.policy(service)[0], version)

    return handle


def set_policy(service: str) -> Handler:
    """`setIamPolicy` of all but Cloud Storage."""

    def handle(asked: Asked) -> Json:
        name, conflict = asked.policy(service)
        return write_policy(asked.state, name, asked.body["policy"], conflict)

    return handle


def set_bucket_policy(asked: Asked) -> Json:
    """`storage.buckets.setIamPolicy`."""
    name, conflict = asked.policy("storage", status="FAILED_PRECONDITION", code=412)
    return write_policy(asked.state, name, asked.body, conflict)


def services_get(asked: Asked) -> Json:
    """`serviceusage.services.batchGet`."""
    shown = []
    for name in asked.params["names"]:
        enabled = name.rpartition("/")[2] in asked.state.enabled
        shown.append({"name": name, "state": "ENABLED" if enabled else "DISABLED"})
    return {"services": shown}


def services_enable(asked: Asked) -> Json:
    """`serviceusage.services.batchEnable`."""
    names = asked.body["serviceIds"]
    if len(names) > _MAX_ENABLE:
        raise ApiError("INVALID_ARGUMENT", f"At most {_MAX_ENABLE} services can be enabled at a time.")
    if not asked.state.billing:
        message = f"Billing account for project '{asked.state.number}' is not found. Billing must be enabled."
        raise ApiError("FAILED_PRECONDITION", message)
    asked.state.enabled.update(names)
    return asked.state.operation(f"operations/acat.p2-{asked.state.number}-{len(asked.state.operations)}")


def operation_get(asked: Asked) -> Json:
    """`operations.get` of Service Usage and IAM."""
    return asked.state.poll(asked.params["name"])


def account_create(asked: Asked) -> Json:
    """`iam.projects.serviceAccounts.create`."""
    state = asked.state
    email = f"{asked.body['accountId']}@{state.project}.iam.gserviceaccount.com"
    name = f"projects/{state.project}/serviceAccounts/{email}"
    facts = {"name": name, "email": email, "projectId": state.project}
    known_at = state.now + state.propagation_seconds
    return state.add(f"iam/{name}", {**asked.body.get("serviceAccount", {}), **facts, "knownAt": known_at})


def account_patch(asked: Asked) -> Json:
    """`iam.projects.serviceAccounts.patch`."""
    found = asked.state.get(f"iam/{asked.params['name']}")
    return _patched(found, asked.body["serviceAccount"], asked.body["updateMask"])


def account_enable(asked: Asked) -> Json:
    """`iam.projects.serviceAccounts.enable`."""
    asked.state.get(f"iam/{asked.params['name']}").pop("disabled", None)
    return {}


def get(service: str) -> Handler:
    """A `get` that shows what is there."""
    return lambda asked: asked.state.get(f"{service}/{asked.params['name']}")


def ring_create(asked: Asked) -> Json:
    """`cloudkms.projects.locations.keyRings.create`."""
    name = f"{asked.params['parent']}/keyRings/{asked.params['keyRingId']}"
    return asked.state.add(f"cloudkms/{name}", {"name": name})


def key_create(asked: Asked) -> Json:
    """`cloudkms.projects.locations.keyRings.cryptoKeys.create`."""
    asked.state.get(f"cloudkms/{asked.params['parent']}")
    name = f"{asked.params['parent']}/cryptoKeys/{asked.params['cryptoKeyId']}"
    primary = {"name": f"{name}/cryptoKeyVersions/1", "state": "ENABLED"}
    return asked.state.add(f"cloudkms/{name}", {**_rotating(asked.body), "name": name, "primary": primary})


def key_patch(asked: Asked) -> Json:
    """`cloudkms.projects.locations.keyRings.cryptoKeys.patch`."""
    found = asked.state.get(f"cloudkms/{asked.params['name']}")
    return _patched(found, _rotating(asked.body), asked.params["updateMask"])


def federation_create(kind: str, parameter: str) -> Handler:
    """`create` of a pool or a provider."""

    def handle(asked: Asked) -> Json:
        name = f"{asked.params['parent']}/{kind}/{asked.params[parameter]}"
        if kind == "providers":
            asked.state.get(f"iam/{asked.params['parent']}")
            _check_provider(asked.body)
        asked.state.add(f"iam/{name}", {**asked.body, "name": name, "state": "ACTIVE"})
        return asked.state.operation(f"{name}/operations/create")

    return handle


def federation_patch(asked: Asked) -> Json:
    """`patch` of a pool or a provider."""
    name = asked.params["name"]
    found = asked.state.get(f"iam/{name}")
    if found["state"] == "DELETED":
        raise ApiError("FAILED_PRECONDITION", f"{name} is deleted and cannot be updated.")
    _patched(found, asked.body, asked.params["updateMask"])
    return asked.state.operation(f"{name}/operations/patch")


def federation_undelete(asked: Asked) -> Json:
    """`undelete` of a pool or a provider."""
    name = asked.params["name"]
    asked.state.get(f"iam/{name}")["state"] = "ACTIVE"
    return asked.state.operation(f"{name}/operations/undelete")


def bucket_get(asked: Asked) -> Json:
    """`storage.buckets.get`."""
    _check_owner(asked)
    return asked.state.get(f"storage/{asked.params['bucket']}")


def bucket_insert(asked: Asked) -> Json:
    """`storage.buckets.insert`."""
    name = asked.body["name"]
    if name in asked.state.foreign_buckets:
        raise ApiError("ALREADY_EXISTS", "The requested bucket name is not available.")
    facts = {"projectNumber": asked.state.number, "location": asked.body["location"].upper()}
    return asked.state.add(f"storage/{name}", {**asked.body, **facts})


def bucket_patch(asked: Asked) -> Json:
    """`storage.buckets.patch`: https://cloud.google.com/storage/docs/json_api/v1/how-tos/performance#patch."""
    found = asked.state.get(f"storage/{asked.params['bucket']}")
    for key, value in asked.body.items():
        merges = key in ("labels", "iamConfiguration")
        found[key] = {**found.get(key, {}), **value} if merges else value
    return found


def _check_owner(asked: Asked) -> None:
    name = asked.params["bucket"]
    if name in asked.state.foreign_buckets:
        message = f"owner@example.com does not have storage.buckets.get access to bucket '{name}'."
        raise ApiError("PERMISSION_DENIED", message)


def _check_provider(body: Json) -> None:
    if "google.subject" not in body.get("attributeMapping", {}):
        raise ApiError("INVALID_ARGUMENT", "The attribute mapping must map google.subject.")
    condition = body.get("attributeCondition", "")
    # Google refuses GitHub's issuer without a condition that refers to one of its claims.
    if "token.actions.githubusercontent.com" in body["oidc"]["issuerUri"] and "assertion." not in condition:
        message = "The attribute condition must reference one of the provider's claims."
        raise ApiError("INVALID_ARGUMENT", message)


def _rotating(body: Json) -> Json:
    if "rotationPeriod" in body and "nextRotationTime" not in body:
        raise ApiError("INVALID_ARGUMENT", "rotation_period needs next_rotation_time to be set as well.")
    return body


def _patched(found: Json, body: Json, mask: str) -> Json:
    for key in mask.split(","):
        if key not in body:
            raise ApiError("INVALID_ARGUMENT", f"The update mask names {key}, which the body does not hold.")
        found[key] = body[key]
    return found
