"""Images in the rehearsed registry: what a push leaves behind, and how it goes away.

A pushed image is a record of the repository that it was pushed to, and a snapshot of its context in
`images/<sha256>/`, which is what a workload is started from.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rehearsal.standins.docker_context import Build, snapshot
from rehearsal.standins.names import parse_image, repository_name
from rehearsal.world import AlreadyExists, NotFound, Record, World

KIND = "artifactregistry.image"


def snapshot_folder(world: World, digest: str) -> Path:
    """Where the context of an image lies."""
    return world.folder / "images" / digest.removeprefix("sha256:")


def forget_snapshot(world: World, digest: str) -> None:
    """Remove a snapshot that no image has any more."""
    if not any(record.body["digest"] == digest for record in world.list(KIND)):
        shutil.rmtree(snapshot_folder(world, digest), ignore_errors=True)


def images_of(world: World, tag: str) -> str:
    """The common part of the full names of all versions of the image that a tag belongs to.

    Raises:
        NotFound: The tag is of no Artifact Registry repository here.
    """
    parts = parse_image(tag)
    if parts is None:
        raise NotFound(
            f"failed to push {tag}: the rehearsed cloud has Artifact Registry only, "
            "LOCATION-docker.pkg.dev/PROJECT/REPOSITORY/IMAGE"
        )
    repository = repository_name(*(str(parts[key]) for key in ("project", "location", "repository")))
    record = world.get(repository)
    if record is None or record.body["format"] != "DOCKER":
        raise NotFound(
            f'failed to push {tag}: name unknown: Repository "{parts["repository"]}" not found; '
            "create it first and let the image depend on it"
        )
    return f"{repository}/dockerImages/{parts['image']}"


def push(world: World, build: Build, digest: str, tags: Sequence[str], build_args: dict[str, Any]) -> None:
    """Put an image into the repositories of its tags; a tag that pointed elsewhere moves here.

    Raises:
        NotFound: A repository does not exist.
    """
    images = [(images_of(world, tag), str((parse_image(tag) or {})["tag"] or "latest")) for tag in tags]
    if images:
        snapshot(build, snapshot_folder(world, digest))
    for prefix, tag in images:
        _take_tag(world, prefix, tag)
        _write(world, f"{prefix}@{digest}", tag, build, digest, build_args)


def find(world: World, tag: str, digest: str) -> Record | None:
    """The image at a tag's address with that digest and that tag."""
    parts = parse_image(tag)
    if parts is None:
        return None
    repository = repository_name(*(str(parts[key]) for key in ("project", "location", "repository")))
    record = world.get(f"{repository}/dockerImages/{parts['image']}@{digest}")
    return record if record is not None and (parts["tag"] or "latest") in record.body["tags"] else None


def delete(world: World, tag: str, digest: str) -> None:
    """Remove an image with all its tags; one that is gone is no error."""
    parts = parse_image(tag)
    if parts is None:
        return
    repository = repository_name(*(str(parts[key]) for key in ("project", "location", "repository")))
    world.delete(f"{repository}/dockerImages/{parts['image']}@{digest}")
    forget_snapshot(world, digest)


def _take_tag(world: World, prefix: str, tag: str) -> None:
    for record in world.list(KIND, f"{prefix}@"):
        if tag in record.body["tags"]:
            rest = [each for each in record.body["tags"] if each != tag]
            world.edit(record.name, lambda body, rest=rest: {**body, "tags": rest})  # type: ignore[misc]


def _write(world: World, name: str, tag: str, build: Build, digest: str, build_args: dict[str, Any]) -> None:
    _, _, project, _, location, _, repository, _, image = name.split("/", 8)
    body = {
        "name": name.partition("/")[2],
        "uri": f"{location}-docker.pkg.dev/{project}/{repository}/{image}",
        "digest": digest,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "uploadTime": world.now(),
        "context": str(build.context),
        "buildArgs": build_args,
        "tags": [tag],
    }
    try:
        world.insert(KIND, name, body)
    except AlreadyExists:  # the same content was pushed before
        world.edit(name, lambda present: {**body, "tags": sorted({*present["tags"], tag})})
