"""Finds the image that a container record names among those that this rehearsal built."""

from __future__ import annotations

import re
from pathlib import Path

from rehearsal.runner.types import Image, StartError
from rehearsal.world import Record, World

CHECKOUT = Path(__file__).resolve().parents[2]
_ADDRESS = re.compile(
    r"(?P<region>[a-z0-9-]+)-docker\.pkg\.dev/(?P<project>[^/]+)/(?P<repository>[^/]+)/(?P<name>[^@:]+)"
    r"(?::(?P<tag>[^@]+))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


def find_image(world: World, address: str) -> Image:
    """The image at an address such as `REGION-docker.pkg.dev/PROJECT/REPOSITORY/NAME@sha256:…`.

    Raises:
        StartError: it is not one of this rehearsal's, or its snapshot is gone.
    """
    match = _ADDRESS.fullmatch(address)
    record = _record(world, match) if match else None
    if record is None:
        raise StartError(
            f"Image '{address}' not found: a rehearsed cloud runs only images that were built in it "
            "(a docker-build Image that pushes to an Artifact Registry repository of this stack)"
        )
    digest = str(record.body["digest"])
    snapshot = world.folder / "images" / digest.removeprefix("sha256:")
    if not snapshot.is_dir():
        raise StartError(
            f"Image '{address}': its snapshot {snapshot} is gone; build it again with `pulumi up`"
        )
    context = Path(record.body["context"])
    return Image(
        name=context.name,
        digest=digest,
        snapshot=snapshot,
        context=context if context.is_absolute() else CHECKOUT / context,
        build_args=record.body.get("buildArgs") or {},
    )


def _record(world: World, match: re.Match[str]) -> Record | None:
    part = match.groupdict()
    images = (
        f"artifactregistry.googleapis.com/projects/{part['project']}/locations/{part['region']}"
        f"/repositories/{part['repository']}/dockerImages/{part['name']}"
    )
    if part["digest"]:
        return world.get(f"{images}@{part['digest']}")
    tag = part["tag"] or "latest"
    found = [r for r in world.list(prefix=f"{images}@") if tag in (r.body.get("tags") or ())]
    return max(found, key=lambda record: record.updated, default=None)
