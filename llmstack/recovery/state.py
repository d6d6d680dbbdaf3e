"""A stack's state, as the engine exports it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from pulumi import automation

_SIGNATURE_KEY: Final = "4dabf18193072939515e22adb298388d"
_SECRET_SIGNATURE: Final = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - how a state marks a secret
"""Both from `sdk/go/common/resource/sig`."""


def deployment(stack: automation.Stack) -> Mapping[str, Any]:
    """The state; its secrets are in the clear, but marked."""
    return stack.export_stack().deployment or {}


def resources(stack: automation.Stack) -> list[Mapping[str, Any]]:
    """The resources of the state."""
    return list(deployment(stack).get("resources") or [])


def mark_secret(value: str) -> dict[str, str]:
    """A value as a state has a secret; the engine encrypts it when it reads that."""
    return {_SIGNATURE_KEY: _SECRET_SIGNATURE, "plaintext": json.dumps(value)}


def plain(value: Any) -> Any:
    """A value of a state without the marks of its secrets."""
    if isinstance(value, dict):
        if value.get(_SIGNATURE_KEY) == _SECRET_SIGNATURE:
            return json.loads(value["plaintext"])
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value
