"""The key that encrypts the stacks' secrets. Neither it nor its ring can ever be deleted."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from llmstack.bootstrap.errors import BootstrapError
from llmstack.bootstrap.google import Google, Purpose
from llmstack.bootstrap.steps import Json, Managed
from llmstack.bootstrap.target import KEY, KEY_RING, Target

_ROTATION_DAYS = 90
"""https://cloud.google.com/kms/docs/key-rotation. Old versions stay: what they encrypted stays readable."""

_SETTINGS: dict[str, Any] = {
    "rotationPeriod": f"{_ROTATION_DAYS * 24 * 3600}s",
    "labels": {"managed-by": "llmstack", "purpose": "pulumi-secrets"},
}


def key_ring(google: Google, target: Target) -> Managed:
    """The step of the key ring."""
    rings = google.service("cloudkms").projects().locations().keyRings()
    parent, name = target.key_ring.partition("/keyRings/")[0], target.key_ring

    def read() -> Json | None:
        purpose = Purpose(f"reading key ring {KEY_RING}", "cloudkms.keyRings.get", parent)
        return google.read(purpose, lambda: rings.get(name=name))

    def create() -> None:
        purpose = Purpose(f"creating key ring {KEY_RING}", "cloudkms.keyRings.create", parent)
        google.write(purpose, lambda: rings.create(parent=parent, keyRingId=KEY_RING, body={}))

    # A key ring has no settings.
    return Managed(f"key ring {KEY_RING} in {target.region}", {}, read, create)


def key(google: Google, target: Target, now: Callable[[], datetime]) -> Managed:
    """The step of the key.

    Args:
        google: reaches Google.
        target: what is prepared.
        now: the time, from which the first rotation counts.
    """
    keys = google.service("cloudkms").projects().locations().keyRings().cryptoKeys()

    def read() -> Json | None:
        purpose = Purpose(f"reading key {KEY}", "cloudkms.cryptoKeys.get", target.key_ring)
        return google.read(purpose, lambda: keys.get(name=target.key))

    def create() -> None:
        body = {"purpose": "ENCRYPT_DECRYPT", **_SETTINGS, "nextRotationTime": _next(now())}
        purpose = Purpose(f"creating key {KEY}", "cloudkms.cryptoKeys.create", target.key_ring)
        google.write(purpose, lambda: keys.create(parent=target.key_ring, cryptoKeyId=KEY, body=body))

    def patch(fields: Any) -> None:
        body = {field: _SETTINGS[field] for field in fields}
        if "rotationPeriod" in body:
            body["nextRotationTime"] = _next(now())
        purpose = Purpose(f"changing key {KEY}", "cloudkms.cryptoKeys.update", target.key)
        google.write(purpose, lambda: keys.patch(name=target.key, updateMask=",".join(body), body=body))

    return Managed(f"key {KEY} in key ring {KEY_RING}", _SETTINGS, read, create, patch, check=_usable)


def _usable(current: Json | None) -> list[str]:
    if current is None:
        return []
    if current.get("purpose") != "ENCRYPT_DECRYPT":
        raise BootstrapError(
            f"key {current['name']} has the purpose {current.get('purpose')}, which cannot change: it is not "
            "the key that this command makes, so prepare another project or region"
        )
    state = current.get("primary", {}).get("state")
    if state == "ENABLED":
        return []
    return [
        f"the primary version of key {KEY} is {state}: stacks cannot be read until it is enabled again "
        f"(gcloud kms keys versions list --key {KEY} --keyring {KEY_RING})"
    ]


def _next(now: datetime) -> str:
    return (now + timedelta(days=_ROTATION_DAYS)).strftime("%Y-%m-%dT%H:%M:%SZ")
