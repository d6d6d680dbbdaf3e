"""Makes a workload of a container in Google's REST shape; refuses what Cloud Run refuses at its start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rehearsal.cloud.tokens import PRINCIPAL
from rehearsal.runner.images import find_image
from rehearsal.runner.types import Mount, StartError, WorkloadSpec
from rehearsal.world import World


@dataclass(frozen=True, slots=True)
class Platform:
    """What Cloud Run adds to a container."""

    project: str
    env: Mapping[str, str]
    """PORT, K_SERVICE, CLOUD_RUN_JOB and their like."""
    address: str
    """`127.0.0.1:PORT` of the cloud process."""


def build_spec(world: World, workload: str, template: Mapping[str, Any], platform: Platform) -> WorkloadSpec:
    """The workload of a revision's or a task's template.

    Args:
        world: where images, buckets and secrets are.
        workload: id of the workload; its folder must exist.
        template: a RevisionTemplate or TaskTemplate of the Cloud Run v2 API.
        platform: what does not come from the template.

    Raises:
        StartError: something that it refers to does not exist, or its service account may not use it.
    """
    containers = template.get("containers") or []
    if len(containers) != 1:
        raise StartError(
            f"{len(containers)} containers: a rehearsed cloud runs exactly one, without sidecars"
        )
    container = containers[0]
    account = str(template.get("serviceAccount") or "")
    member = _member(world, platform.project, account)
    folder = world.folder / "workloads" / workload
    mounts = _mounts(world, folder / "volumes", member, template, container)
    limits = (container.get("resources") or {}).get("limits") or {}
    return WorkloadSpec(
        id=workload,
        folder=folder,
        world=world.folder,
        image=find_image(world, container["image"]),
        command=tuple(container.get("command") or ()),
        args=tuple(container.get("args") or ()),
        env={
            **_overlay(world, workload, platform),
            **_environment(world, platform.project, member, container),
            **platform.env,
        },
        mounts=mounts,
        cpu=limits.get("cpu", ""),
        memory=limits.get("memory", ""),
    )


def _member(world: World, project: str, account: str) -> str:
    """Whom a workload is: a service account that exists, or in a cluster its pods themselves."""
    if not account:
        raise StartError("no service account: every workload here runs as its own, set `serviceAccount`")
    if account.startswith(PRINCIPAL):
        return account
    if world.get(f"iam.googleapis.com/projects/{project}/serviceAccounts/{account}") is None:
        raise StartError(f"Service account {account} does not exist.")
    return f"serviceAccount:{account}"


def _overlay(world: World, workload: str, platform: Platform) -> dict[str, str]:
    """What makes Google's clients and the Hub's talk to loopback."""
    metadata = f"{platform.address}/workload/{workload}"
    overlay = {
        "GCE_METADATA_HOST": metadata,
        "GCE_METADATA_IP": metadata,
        "STORAGE_EMULATOR_HOST": f"http://{platform.address}",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER": f"http://{platform.address}/",
    }
    hub = world.setting("hub_endpoint")
    return {**overlay, "HF_ENDPOINT": hub} if hub else overlay


def _environment(world: World, project: str, member: str, container: Mapping[str, Any]) -> dict[str, str]:
    values: dict[str, str] = {}
    for entry in container.get("env") or []:
        reference = (entry.get("valueSource") or {}).get("secretKeyRef")
        if reference is None:
            values[entry["name"]] = entry.get("value") or ""
        else:
            values[entry["name"]] = _secret(world, project, member, reference)
    return values


def _secret(world: World, project: str, member: str, reference: Mapping[str, str]) -> str:
    short = reference["secret"]
    path = short if short.startswith("projects/") else f"projects/{project}/secrets/{short}"
    name, version = f"secretmanager.googleapis.com/{path}", reference.get("version") or "latest"
    full = latest_version(world, name) if version == "latest" else f"{name}/versions/{version}"
    payload = None if full is None or world.get(full) is None else world.secrets.get(full)
    if payload is None:
        raise StartError(f"Secret {path}/versions/{version} was not found")
    if not world.allows(member, "secretmanager.versions.access", name):
        raise StartError(
            f"Permission denied on secret: {path}/versions/{version} for Revision service account "
            f"{member.partition(':')[2]}. The service account used must be granted the "
            "'Secret Manager Secret Accessor' role (roles/secretmanager.secretAccessor)"
        )
    return payload.decode()


def latest_version(world: World, secret: str) -> str | None:
    """The full name of a secret's newest version that is enabled."""
    versions = [
        record.name
        for record in world.list("secretmanager.version", f"{secret}/versions/")
        if record.body.get("state", "ENABLED") == "ENABLED"
    ]
    return max(versions, key=lambda name: int(name.rpartition("/")[2]), default=None)


def _mounts(
    world: World, scratch: Path, member: str, template: Mapping[str, Any], container: Mapping[str, Any]
) -> tuple[Mount, ...]:
    volumes = {volume["name"]: volume for volume in template.get("volumes") or []}
    mounts = []
    for wanted in container.get("volumeMounts") or []:
        volume = volumes.get(wanted["name"])
        if volume is None:
            raise StartError(f"volume mount '{wanted['name']}' names no volume of the template")
        if "gcs" in volume:
            mounts.append(_bucket_mount(world, member, volume["gcs"], wanted["mountPath"]))
        elif "emptyDir" in volume:
            mounts.append(_empty_mount(scratch / volume["name"], wanted["mountPath"]))
        else:
            raise StartError(f"volume '{volume['name']}': a rehearsed cloud mounts gcs and emptyDir only")
    return tuple(mounts)


def _bucket_mount(world: World, member: str, gcs: Mapping[str, Any], target: str) -> Mount:
    bucket = gcs["bucket"]
    resource = f"storage.googleapis.com/buckets/{bucket}"
    if world.get(resource) is None:
        raise StartError(f"mounting volume failed: bucket {bucket} does not exist")
    # What gcsfuse needs at its start. https://cloud.google.com/storage/docs/cloud-storage-fuse/mount-bucket
    for permission in ("storage.objects.list", "storage.objects.get"):
        if not world.allows(member, permission, resource):
            raise StartError(
                f"mounting volume failed: gcsfuse: error 403: {member.partition(':')[2]} does not have "
                f"{permission} access to the Google Cloud Storage bucket {bucket}. "
                "Give it roles/storage.objectViewer on that bucket"
            )
    folder = world.objects.create_bucket(bucket)
    return Mount(folder, target.rstrip("/"), bool(gcs.get("readOnly")))


def _empty_mount(source: Path, target: str) -> Mount:
    source.mkdir(parents=True, exist_ok=True)
    return Mount(source, target.rstrip("/"), read_only=False)
