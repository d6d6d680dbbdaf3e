"""A model's artifacts: at upload they are copied to a bucket of Google's, and containers read the copy.

https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements (AIP_STORAGE_URI): the
container's account may read the copy, and a service account of the deployer's own is granted that. So
changing or deleting the folder later changes no uploaded model.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from pathlib import Path

from rehearsal.cloud.errors import ApiError
from rehearsal.standins.names import bucket_name
from rehearsal.world import AlreadyExists, World

KIND = "aiplatform.artifacts"
"""A bucket that belongs to Google: no list of the project's buckets shows it."""
_FOLDER = "artifacts/"
_LOG = logging.getLogger(__name__)


def ingest(world: World, version: str, uri: str) -> str:
    """Copy the artifacts of a model's version; returns where the copy is.

    Args:
        world: the rehearsal's world.
        version: the version's full name.
        uri: `gs://BUCKET/FOLDER`.

    Raises:
        ApiError: there is no such bucket.
    """
    bucket, _, folder = uri.removeprefix("gs://").rstrip("/").partition("/")
    if not uri.startswith("gs://") or world.get(bucket_name(bucket)) is None:
        raise ApiError("NOT_FOUND", f"artifactUri {uri}: the specified bucket does not exist.")
    prefix = f"{folder}/" if folder else ""
    own = _bucket(version)
    try:
        world.insert(KIND, bucket_name(own), {"name": own})
    except AlreadyExists:
        _LOG.info("%s: the copy that a crash interrupted begins anew", own)
    world.objects.create_bucket(own)
    found = [meta for meta in world.objects.list(bucket, prefix) if not meta.name.endswith("/")]
    for meta in found:
        name = _FOLDER + meta.name.removeprefix(prefix)
        with _linked(world, world.objects.path(bucket, meta.name)) as link:
            world.objects.put(own, name, Path(link), meta.content_type, consume=True)
    if not found:
        _LOG.warning("%s: artifactUri %s has no objects", version, uri)
    return f"gs://{own}/{_FOLDER.rstrip('/')}"


def allow(world: World, uri: str, member: str) -> None:
    """Let a container's account read a copy.

    So may who sends no credentials: Google's storage client sends none to the address that
    STORAGE_EMULATOR_HOST names, and that Google lets the container read its copy is nobody's to configure.
    """
    bucket = bucket_name(uri.removeprefix("gs://").partition("/")[0])
    for each in (member, "allUsers"):
        world.bind(bucket, "roles/storage.objectViewer", each)


def discard(world: World, version: str) -> None:
    """Remove the copy that belongs to a version, if there is one."""
    own = _bucket(version)
    if world.delete(bucket_name(own)):
        world.objects.remove_bucket(own)


def _bucket(version: str) -> str:
    return f"caip-tenant-{hashlib.sha256(version.encode()).hexdigest()[:20]}"


class _linked:  # noqa: N801 - used as a function
    """A second name for a file: objects are never changed in place, so the copy costs no space."""

    def __init__(self, world: World, path: Path) -> None:
        self._folder = world.folder / "uploads"
        self._path = path

    def __enter__(self) -> str:
        self._folder.mkdir(exist_ok=True)
        self._link = tempfile.mktemp(dir=self._folder)  # noqa: S306 - a folder of our own
        os.link(self._path, self._link)
        return self._link

    def __exit__(self, *_: object) -> None:
        Path(self._link).unlink(missing_ok=True)
