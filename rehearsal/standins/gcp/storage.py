"""Cloud Storage buckets (`gcp:storage/bucket:Bucket`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from providers.base.values import Properties
from rehearsal.standins.model import Cloud, RecordModel, label_outputs, present_only
from rehearsal.standins.names import bucket_name
from rehearsal.world import Record

_RENAMED_CONDITIONS = {
    "matchesPrefixes": "matchesPrefix",
    "matchesStorageClasses": "matchesStorageClass",
    "matchesSuffixes": "matchesSuffix",
    "withState": "isLive",
}
_SOFT_DELETE_SECONDS = 604800
"""Google's default: https://cloud.google.com/storage/docs/soft-delete"""

_MODELLED = frozenset(
    {
        "name",
        "location",
        "project",
        "labels",
        "storageClass",
        "uniformBucketLevelAccess",
        "publicAccessPrevention",
        "lifecycleRules",
        "softDeletePolicy",
        "versioning",
        "hierarchicalNamespace",
        "requesterPays",
        "defaultEventBasedHold",
        "enableObjectRetention",
        "rpo",
    }
)


class Bucket(RecordModel):
    """A bucket: a record, and a folder that holds the objects."""

    type_name = "gcp:storage/bucket:Bucket"
    kind = "storage.bucket"
    service = "storage.googleapis.com"
    api = "storage.googleapis.com"
    auto_name = "name"
    kept: ClassVar[Mapping[str, Any]] = {"deletionPolicy": "DELETE", "forceDestroy": False}
    unmanaged_maps = ("labels",)
    modelled = _MODELLED

    def defaults(self, cloud: Cloud, inputs: Properties) -> Properties:
        """Google and the provider write locations in capitals."""
        filled = {"storageClass": "STANDARD", **super().defaults(cloud, inputs)}
        location = filled["location"]
        return {**filled, "location": location.upper() if isinstance(location, str) else location}

    def address(self, cloud: Cloud, inputs: Properties) -> str:  # noqa: ARG002
        """Bucket names are global."""
        return bucket_name(inputs["name"])

    def id_of(self, cloud: Cloud, name: str) -> str:  # noqa: ARG002
        """The bucket's name."""
        return name.rpartition("/")[2]

    def name_of(self, cloud: Cloud, id: str) -> str:  # noqa: ARG002
        """From `BUCKET` or, on import, `PROJECT/BUCKET`."""
        return bucket_name(id.rpartition("/")[2])

    def to_body(self, cloud: Cloud, inputs: Properties, present: dict[str, Any]) -> dict[str, Any]:
        """As `buckets.get` shows it."""
        name, now = inputs["name"], cloud.world.now()
        soft = inputs.get("softDeletePolicy") or {}
        return present_only(
            {
                "kind": "storage#bucket",
                "id": name,
                "name": name,
                "selfLink": f"https://www.googleapis.com/storage/v1/b/{name}",
                "projectNumber": cloud.project_number(inputs["project"]),
                "timeCreated": present.get("timeCreated", now),
                "updated": now,
                "metageneration": str(int(present.get("metageneration", 0)) + 1),
                "location": inputs["location"],
                "locationType": "multi-region" if len(inputs["location"]) <= 4 else "region",
                "storageClass": inputs["storageClass"],
                "labels": inputs.get("labels"),
                "iamConfiguration": {
                    "uniformBucketLevelAccess": {"enabled": bool(inputs.get("uniformBucketLevelAccess"))},
                    "publicAccessPrevention": inputs.get("publicAccessPrevention") or "inherited",
                },
                "softDeletePolicy": {
                    "retentionDurationSeconds": str(
                        soft.get("retentionDurationSeconds", _SOFT_DELETE_SECONDS)
                    )
                },
                "lifecycle": {"rule": [_rule_to_rest(rule) for rule in inputs.get("lifecycleRules") or []]},
                "versioning": inputs.get("versioning"),
                "hierarchicalNamespace": inputs.get("hierarchicalNamespace"),
                "billing": {"requesterPays": bool(inputs.get("requesterPays"))},
                "defaultEventBasedHold": inputs.get("defaultEventBasedHold"),
                "objectRetention": {"mode": "Enabled"} if inputs.get("enableObjectRetention") else None,
                "rpo": inputs.get("rpo"),
            }
        )

    def from_body(self, cloud: Cloud, record: Record) -> Properties:
        """The inputs."""
        body = record.body
        iam = body.get("iamConfiguration", {})
        seconds = body.get("softDeletePolicy", {}).get("retentionDurationSeconds", _SOFT_DELETE_SECONDS)
        return present_only(
            {
                "name": body["name"],
                "project": self._project(cloud, body),
                "location": body["location"],
                "storageClass": body.get("storageClass", "STANDARD"),
                "labels": body.get("labels"),
                "uniformBucketLevelAccess": bool(iam.get("uniformBucketLevelAccess", {}).get("enabled")),
                "publicAccessPrevention": iam.get("publicAccessPrevention", "inherited"),
                "softDeletePolicy": {"retentionDurationSeconds": int(seconds)},
                "lifecycleRules": [
                    _rule_from_rest(rule) for rule in body.get("lifecycle", {}).get("rule", [])
                ],
                "versioning": body.get("versioning"),
                "hierarchicalNamespace": body.get("hierarchicalNamespace"),
                "requesterPays": body.get("billing", {}).get("requesterPays", False),
                "defaultEventBasedHold": body.get("defaultEventBasedHold"),
                "enableObjectRetention": bool(body.get("objectRetention")),
                "rpo": body.get("rpo"),
            }
        )

    def computed(self, cloud: Cloud, record: Record) -> Properties:  # noqa: ARG002
        """Addresses and times."""
        body = record.body
        return {
            "url": f"gs://{body['name']}",
            "selfLink": body["selfLink"],
            "projectNumber": int(body["projectNumber"]),
            "timeCreated": body["timeCreated"],
            "updated": body["updated"],
            **label_outputs(body.get("labels")),
        }

    def create(self, cloud: Cloud, inputs: Properties) -> str:
        """The record, then the folder."""
        id = super().create(cloud, inputs)
        cloud.world.objects.create_bucket(id)
        return id

    def blocker(self, cloud: Cloud, id: str, state: Properties) -> str | None:
        """Objects block a bucket's deletion unless the state says otherwise."""
        bucket = self.name_of(cloud, id).rpartition("/")[2]
        objects = cloud.world.objects.list(bucket)
        if objects and not state.get("forceDestroy"):
            return (
                f"cannot destroy bucket {bucket}: it holds {len(objects)} objects "
                "and its forceDestroy is false. "
                "Remove them, or set forceDestroy to true, run up, and then destroy."
            )
        return super().blocker(cloud, id, state)

    def delete(self, cloud: Cloud, id: str, kept: Properties) -> None:
        """The objects, the folder, the record."""
        cloud.world.objects.remove_bucket(self.name_of(cloud, id).rpartition("/")[2])
        super().delete(cloud, id, kept)

    def _project(self, cloud: Cloud, body: dict[str, Any]) -> str | None:
        for record in cloud.world.list("project"):
            if record.body["number"] == body["projectNumber"]:
                return str(record.body["projectId"])
        return None


def _rule_to_rest(rule: Properties) -> dict[str, Any]:
    condition = {_RENAMED_CONDITIONS.get(key, key): value for key, value in rule["condition"].items()}
    state = condition.pop("isLive", None)
    if state in ("LIVE", "ARCHIVED"):
        condition["isLive"] = state == "LIVE"
    return {"action": rule["action"], "condition": condition}


def _rule_from_rest(rule: dict[str, Any]) -> Properties:
    back = {rest: name for name, rest in _RENAMED_CONDITIONS.items()}
    condition = {back.get(key, key): value for key, value in rule.get("condition", {}).items()}
    if "withState" in condition:
        condition["withState"] = "LIVE" if condition["withState"] else "ARCHIVED"
    return {"action": rule["action"], "condition": condition}
