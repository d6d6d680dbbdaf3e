"""Cloud Run: between Pulumi's properties and the REST API's JSON.

Both use the same names except for a few that the provider puts in the plural, and a service's port,
which is an object there and a list here.
Source of the names: `run.v2` discovery document and the installed SDK.
"""

from __future__ import annotations

from typing import Any

_RENAMED: dict[str, str] = {
    "envs": "env",
    "commands": "command",
    "traffics": "traffic",
    "dependsOns": "dependsOn",
}
_BACK = {rest: name for name, rest in _RENAMED.items()}
_USER_KEYS = frozenset({"labels", "annotations", "limits", "environmentVariables"})
"""Maps whose keys are the user's and must stay as they are."""

_READ_ONLY = frozenset({"buildInfos"})
"""What the SDK takes as an input, but only Google writes."""

_PORTS = "ports"


def to_rest(value: Any) -> Any:
    """Pulumi's properties as the REST API wants them; what is None or read-only is left out."""
    if isinstance(value, list):
        return [to_rest(item) for item in value]
    if not isinstance(value, dict):
        return value
    body: dict[str, Any] = {}
    for key, member in value.items():
        if member is None or key in _READ_ONLY:
            continue
        if key in _USER_KEYS:
            body[key] = dict(member)
        elif key == _PORTS and isinstance(member, dict):
            body[key] = [to_rest(member)]
        else:
            body[_RENAMED.get(str(key), str(key))] = to_rest(member)
    return body


def from_rest(value: Any, single_port: bool) -> Any:
    """The REST API's JSON as Pulumi's properties.

    Args:
        value: The JSON.
        single_port: Whether the type has one port object (a service) or a list of ports (a job).
    """
    if isinstance(value, list):
        return [from_rest(item, single_port) for item in value]
    if not isinstance(value, dict):
        return value
    properties: dict[str, Any] = {}
    for key, member in value.items():
        if key in _USER_KEYS:
            properties[key] = dict(member)
        elif key == _PORTS and single_port and isinstance(member, list):
            if member:
                properties[key] = from_rest(member[0], single_port)
        else:
            properties[_BACK.get(str(key), str(key))] = from_rest(member, single_port)
    return properties
