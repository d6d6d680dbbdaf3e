"""IAM policies with etags, as every API holds them: https://cloud.google.com/iam/docs/policies."""

from __future__ import annotations

import base64
import copy
from typing import Any

from rehearsal.cloud.bootstrap_state import Json, ProjectState
from rehearsal.cloud.errors import ApiError

_CONDITIONS = 3
"""First version of the format that holds conditions."""


def read_policy(state: ProjectState, resource: str, version: int) -> Json:
    """The policy of a resource, in the version that the caller can read.

    A caller who asks for less than version 3 sees a conditional role under another name, as at Google:
    https://cloud.google.com/iam/docs/troubleshoot-withcond
    """
    policy = copy.deepcopy(state.policies.setdefault(resource, {"etag": _etag(0), "bindings": []}))
    for binding in policy["bindings"]:
        if "condition" in binding and version < _CONDITIONS:
            binding["role"] += "_withcond_0123456789abcdef"
            del binding["condition"]
    return policy


def write_policy(state: ProjectState, resource: str, policy: Json, conflict: ApiError) -> Json:
    """Replaces the policy of a resource.

    Args:
        state: the project.
        resource: name of the resource.
        policy: the new policy; without an etag it overwrites whatever is there.
        conflict: the refusal where the policy changed since it was read.

    Raises:
        ApiError: the etag is old, an account does not exist, or a condition is sent in an older format.
    """
    if state.meanwhile:
        state.meanwhile.pop(0)(state)
    current = state.policies.setdefault(resource, {"etag": _etag(0), "bindings": []})
    if policy.get("etag", current["etag"]) != current["etag"]:
        raise conflict
    bindings: list[Json] = policy.get("bindings", [])
    conditional = any("condition" in binding for binding in [*bindings, *current["bindings"]])
    if conditional and policy.get("version", 1) < _CONDITIONS:
        raise ApiError("INVALID_ARGUMENT", "Specified policy version is invalid: conditions need version 3.")
    for binding in bindings:
        for member in binding["members"]:
            _check_member(state, member)
    replace_policy(state, resource, bindings)
    return read_policy(state, resource, _CONDITIONS)


def replace_policy(state: ProjectState, resource: str, bindings: list[Json]) -> None:
    """Sets a resource's bindings, by whomever; the etag changes."""
    current = state.policies.setdefault(resource, {"etag": _etag(0), "bindings": []})
    count = int(base64.b64decode(current["etag"]).decode()) + 1
    changed = {"etag": _etag(count), "bindings": copy.deepcopy(bindings), "version": 1}
    if any("condition" in binding for binding in bindings):
        changed["version"] = _CONDITIONS
    state.policies[resource] = changed


def _check_member(state: ProjectState, member: str) -> None:
    kind, _, email = member.partition(":")
    if kind != "serviceAccount" or not email.endswith(f"@{state.project}.iam.gserviceaccount.com"):
        return
    found: dict[str, Any] | None = state.resources.get(
        f"iam/projects/{state.project}/serviceAccounts/{email}"
    )
    if found is None or found["knownAt"] > state.now:
        raise ApiError("INVALID_ARGUMENT", f"Service account {email} does not exist.")


def _etag(count: int) -> str:
    return base64.b64encode(str(count).encode()).decode()
