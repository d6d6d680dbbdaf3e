"""The manifest: what a staged model consists of, written when all of it is there."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import PurePosixPath

import msgspec

from weights import __version__
from weights.contract import contract


class ManifestFile(msgspec.Struct, frozen=True):
    """A file of a staged model: name below the prefix, size in bytes, sha256 in hex."""

    name: str
    size: int
    sha256: str


class Request(msgspec.Struct, frozen=True):
    """What is to be staged.

    Attributes:
        repository: Hub repository, OWNER/NAME or NAME; else the prefix or folder that the source is.
        revision: Commit, 40 hex digits; else ``sha256:`` and a digest over all of the source's files.
        format: How the weights are written.
        dtype: Element type of the weights.
    """

    repository: str
    revision: str
    format: str
    dtype: str


class Manifest(msgspec.Struct, frozen=True):
    """The manifest's fields, as the contract lists them."""

    version: int
    repository: str
    revision: str
    format: str
    dtype: str
    tool: str
    created: str
    files: list[ManifestFile]

    def answers(self, request: Request) -> bool:
        """Whether this is the model asked for, in a version that its readers know."""
        return (
            self.version == contract().manifest_version
            and Request(self.repository, self.revision, self.format, self.dtype) == request
        )

    def fits(self, sizes: Mapping[str, int]) -> bool:
        """Whether every file is there with its size."""
        return bool(self.files) and all(sizes.get(file.name) == file.size for file in self.files)

    def encode(self) -> bytes:
        """As JSON, for a person to read too."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"


def new_manifest(request: Request, files: list[ManifestFile]) -> Manifest:
    """Describe a model that has just been staged."""
    return Manifest(
        version=contract().manifest_version,
        repository=request.repository,
        revision=request.revision,
        format=request.format,
        dtype=request.dtype,
        tool=f"weights/{__version__}",
        created=datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        files=sorted(files, key=lambda file: file.name),
    )


def read_manifest(content: bytes) -> Manifest | None:
    """Decode a manifest; None if it is none, or names files outside its folder."""
    try:
        manifest = msgspec.json.decode(content, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    names = [PurePosixPath(file.name) for file in manifest.files]
    inside = all(not name.is_absolute() and ".." not in name.parts for name in names)
    return manifest if inside else None
