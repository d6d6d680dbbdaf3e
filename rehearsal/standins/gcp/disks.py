"""Disks of Compute Engine and their snapshots (`gcp:compute/disk:Disk`, `gcp:compute/snapshot:Snapshot`)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, ClassVar

from providers.base.values import Properties
from rehearsal.standins.model import Cloud, RecordModel, label_outputs, present_only
from rehearsal.world import Record

_SERVICE = "compute.googleapis.com"
_EMPTY = (
    *("lastAttachTimestamp", "lastDetachTimestamp", "sourceDiskId", "sourceImageId"),
    "sourceInstantSnapshotId",
)
_ID_DIGITS = 13
"""In hexadecimal. The SDK has a snapshot's id as a number, of which 53 bits are carried exactly."""
_MULTI_REGIONS = {"us": "us", "europe": "eu", "asia": "asia"}
"""Where a snapshot is kept unless told: https://cloud.google.com/compute/docs/disks/create-snapshots"""


class StorageModel(RecordModel):
    """What disks and snapshots share. The record holds the inputs under `spec`; nothing is stored."""

    service = _SERVICE
    api = _SERVICE
    auto_name = "name"
    unmanaged_maps = ("labels",)

    def to_body(self, cloud: Cloud, inputs: Properties, present: dict[str, Any]) -> dict[str, Any]:
        """The inputs, and what Google adds when the resource is made."""
        kept = {name: value for name, value in inputs.items() if name not in self.kept}
        path = self.address(cloud, inputs).partition("/")[2]
        return {
            "name": inputs["name"],
            "selfLink": f"https://www.googleapis.com/compute/v1/{path}",
            "creationTimestamp": present.get("creationTimestamp", cloud.world.now()),
            "id": present.get("id", str(int(hashlib.sha256(path.encode()).hexdigest()[:_ID_DIGITS], 16))),
            "spec": present_only(kept),
        }

    def computed(self, cloud: Cloud, record: Record) -> Properties:  # noqa: ARG002
        """Name, time, labels."""
        body = record.body
        labels = body["spec"].get("labels")
        return {
            "selfLink": body["selfLink"],
            "creationTimestamp": body["creationTimestamp"],
            "labelFingerprint": hashlib.sha256(repr(labels).encode()).hexdigest()[:8],
            **label_outputs(labels),
        }


class Disk(StorageModel):
    """A disk."""

    type_name = "gcp:compute/disk:Disk"
    kind = "compute.disk"

    def address(self, cloud: Cloud, inputs: Properties) -> str:  # noqa: ARG002
        """The disk in its zone."""
        return f"{_SERVICE}/projects/{inputs['project']}/zones/{inputs['zone']}/disks/{inputs['name']}"

    def from_body(self, cloud: Cloud, record: Record) -> Properties:  # noqa: ARG002
        """The inputs."""
        _, project, _, zone, _, name = record.name.partition("/")[2].split("/")
        return {**record.body["spec"], "project": project, "zone": zone, "name": name}

    def computed(self, cloud: Cloud, record: Record) -> Properties:
        """Names and times."""
        source = cloud.world.get(snapshot_name(record.body["spec"].get("snapshot")))
        return {
            **super().computed(cloud, record),
            "diskId": record.body["id"],
            "users": [],
            # Nothing is ever attached, and no disk is made from anything but a snapshot.
            **dict.fromkeys(_EMPTY, ""),
            "sourceSnapshotId": source.body["id"] if source is not None else "",
        }


class Snapshot(StorageModel):
    """A snapshot of a disk: whole at once, and as large as the disk."""

    type_name = "gcp:compute/snapshot:Snapshot"
    kind = "compute.snapshot"
    kept: ClassVar[Mapping[str, Any]] = {
        "deletionPolicy": "DELETE",
        "zone": None,
        "guestFlush": None,
        "params": None,
    }

    def address(self, cloud: Cloud, inputs: Properties) -> str:  # noqa: ARG002
        """The snapshot in its project."""
        return f"{_SERVICE}/projects/{inputs['project']}/global/snapshots/{inputs['name']}"

    def to_body(self, cloud: Cloud, inputs: Properties, present: dict[str, Any]) -> dict[str, Any]:
        """The inputs, and the size of the disk when the snapshot was made."""
        disk = cloud.world.get(disk_name(inputs.get("sourceDisk")))
        size = disk.body["spec"].get("size", 0) if disk is not None else 0
        return {**super().to_body(cloud, inputs, present), "size": present.get("size", size)}

    def from_body(self, cloud: Cloud, record: Record) -> Properties:  # noqa: ARG002
        """The inputs; the zone is that of the disk."""
        _, project, _, _, name = record.name.partition("/")[2].split("/")
        spec = record.body["spec"]
        zone = str(spec.get("sourceDisk") or "").partition("/zones/")[2].partition("/")[0]
        region = zone.rpartition("-")[0]
        place = _MULTI_REGIONS.get(region.partition("-")[0], region)
        return {"storageLocations": [place], "zone": zone, **spec, "project": project, "name": name}

    def computed(self, cloud: Cloud, record: Record) -> Properties:
        """Names, times, sizes."""
        return {
            **super().computed(cloud, record),
            "snapshotId": int(record.body["id"]),
            "diskSizeGb": record.body["size"],
            "storageBytes": 0,
            "licenses": [],
        }


def disk_name(disk: Any) -> str:
    """A disk's full name, from its path or its link; empty for anything else."""
    return _full_name(disk, "/disks/")


def snapshot_name(snapshot: Any) -> str:
    """A snapshot's full name, from its path or its link; empty for anything else."""
    return _full_name(snapshot, "/snapshots/")


def _full_name(given: Any, collection: str) -> str:
    if not isinstance(given, str) or collection not in given:
        return ""
    return f"{_SERVICE}/projects/{given.partition('projects/')[2]}"
