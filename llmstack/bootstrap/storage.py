"""The bucket that holds the stacks' states."""

from __future__ import annotations

from typing import Any

from llmstack.bootstrap.errors import BootstrapError, RefusedError
from llmstack.bootstrap.google import Google, Purpose
from llmstack.bootstrap.steps import Json, Managed
from llmstack.bootstrap.target import Target

_NONCURRENT_DAYS = 90
_NEWER_VERSIONS = 50
_SOFT_DELETE_SECONDS = 7 * 24 * 3600
"""Google's own default: https://cloud.google.com/storage/docs/soft-delete"""

_SETTINGS: dict[str, Any] = {
    # A state that was overwritten or deleted by mistake can be taken back.
    "versioning": {"enabled": True},
    # An old version goes only when it is old and many newer ones are there.
    "lifecycle": {
        "rule": [
            {
                "action": {"type": "Delete"},
                "condition": {
                    "isLive": False,
                    "daysSinceNoncurrentTime": _NONCURRENT_DAYS,
                    "numNewerVersions": _NEWER_VERSIONS,
                },
            }
        ]
    },
    "iamConfiguration": {
        "uniformBucketLevelAccess": {"enabled": True},
        "publicAccessPrevention": "enforced",
    },
    "softDeletePolicy": {"retentionDurationSeconds": str(_SOFT_DELETE_SECONDS)},
    "labels": {"managed-by": "llmstack", "purpose": "pulumi-state"},
}


def state_bucket(google: Google, target: Target, number: str) -> Managed:
    """The step of the state bucket.

    Args:
        google: reaches Google.
        target: what is prepared.
        number: the project's number, by which a bucket names its owner.
    """
    name, buckets = target.state_bucket, google.service("storage").buckets()
    taken = (
        f"bucket gs://{name} belongs to another project, and a bucket's name is taken for the whole world: "
        f"its owner must delete it before project {target.project} can be prepared"
    )

    def read() -> Json | None:
        purpose = Purpose(f"reading bucket {name}", "storage.buckets.get", f"bucket {name}")
        try:
            found = google.read(purpose, lambda: buckets.get(bucket=name))
        except RefusedError as error:
            raise BootstrapError(f"{taken}; or you may not see it: {error}") from error
        if found is not None and str(found["projectNumber"]) != number:
            raise BootstrapError(taken)
        return found

    def create() -> None:
        body = {"name": name, "location": target.region, **_SETTINGS}
        purpose = Purpose(f"creating bucket {name}", "storage.buckets.create", f"project {target.project}")
        google.write(purpose, lambda: buckets.insert(project=target.project, body=body))

    def patch(fields: Any) -> None:
        body = {field: _SETTINGS[field] for field in fields}
        purpose = Purpose(f"changing bucket {name}", "storage.buckets.update", f"bucket {name}")
        google.write(purpose, lambda: buckets.patch(bucket=name, body=body))

    def check(current: Json | None) -> list[str]:
        region = target.region if current is None else str(current["location"]).lower()
        if region != target.region:
            raise BootstrapError(
                f"bucket gs://{name} is in {region} and cannot move: run this again with --region {region}"
            )
        return []

    shown = f"bucket gs://{name}"
    return Managed(shown, _SETTINGS, read, create, patch, frozenset({"lifecycle"}), check=check)
