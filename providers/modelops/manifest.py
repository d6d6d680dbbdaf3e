"""The manifest of a staged model: what its writer promises and what a reader must find.

The fields are those of `images/weights/contract.json`, whose job writes the manifest last.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

MANIFEST = "manifest.json"
MAX_BYTES = 16 * 1024 * 1024
"""A manifest has a line per file; anything this large is something else."""


class ManifestFile(BaseModel):
    """One file of a model, named relative to the manifest's folder."""

    model_config = ConfigDict(frozen=True)

    name: str
    size: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Manifest(BaseModel):
    """A model's files and where they come from."""

    model_config = ConfigDict(frozen=True)

    version: Literal[1]
    repository: str
    revision: str
    format: str
    dtype: str
    tool: str
    created: str
    files: Annotated[tuple[ManifestFile, ...], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Source:
    """Which weights a staged model holds."""

    repository: str
    revision: str
    format: str
    dtype: str


@dataclass(frozen=True, slots=True)
class Staged:
    """A model found whole in its place."""

    files: int
    total_bytes: int
    manifest_sha256: str
    tool_version: str


@dataclass(frozen=True, slots=True)
class Missing:
    """Why no whole model was found; `empty` when nothing at all lies there."""

    why: str
    empty: bool


def judge(raw: bytes, sizes: Mapping[str, int], source: Source) -> Staged | Missing:
    """Whether a manifest describes the wanted source and all that it lists is there.

    Args:
        raw: the manifest's bytes.
        sizes: the objects beside it, by name relative to its folder, in bytes.
        source: what should be staged.
    """
    try:
        manifest = Manifest.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return Missing(f"{MANIFEST} is not valid: {where}: {first['msg']}", empty=False)
    for name in ("repository", "revision", "format", "dtype"):
        found, wanted = getattr(manifest, name), getattr(source, name)
        if found != wanted:
            return Missing(f"{MANIFEST} says {name} {found}, not {wanted}", empty=False)
    for file in manifest.files:
        if file.name not in sizes:
            return Missing(f"{file.name} is missing", empty=False)
        if sizes[file.name] != file.size:
            return Missing(f"{file.name} has {sizes[file.name]} bytes, not {file.size}", empty=False)
    return Staged(
        files=len(manifest.files),
        total_bytes=sum(file.size for file in manifest.files),
        manifest_sha256=hashlib.sha256(raw).hexdigest(),
        tool_version=manifest.tool,
    )
