"""The check that a staged model is complete, before anything loads it."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from serve import contract
from serve.errors import Exit, StartupError
from serve.settings import EngineName

OWN_FORMAT = "ctranslate2"
"""The format that exactly the engine of this name reads."""


class StagedFile(BaseModel):
    """One file of a staged model; size in bytes."""

    name: str
    size: int = Field(ge=0)
    sha256: str


class Manifest(BaseModel):
    """What the staging job wrote last: where the model comes from, and its files."""

    version: int
    repository: str
    revision: str
    format: str
    dtype: str
    files: list[StagedFile] = Field(min_length=1)


def check(folder: Path, engine: EngineName) -> Manifest:
    """Reads the manifest of a staged model and compares the format and the files' sizes with it.

    Sizes only: hashing would read all weights once more at every cold start, and the staging job has
    checked the hashes when it wrote them.

    Args:
        folder: holds the manifest and the files it lists.
        engine: what is to read the files.

    Raises:
        StartupError: there is no manifest, it cannot be read, the engine does not read the model's format,
            or a file is missing or of another size.
    """
    manifest = read(folder)
    if (manifest.format == OWN_FORMAT) != (engine == OWN_FORMAT):
        wanted = OWN_FORMAT if engine == OWN_FORMAT else "safetensors"
        raise _error(
            f"{folder}: the model is staged in the format {manifest.format}, which ENGINE={engine} does not "
            f"read; stage it in the format {wanted}"
        )
    for file in manifest.files:
        _check_file(folder / file.name, file)
    return manifest


def read(folder: Path) -> Manifest:
    """Reads the manifest of a staged model, whether its files are there or not.

    Raises:
        StartupError: there is no manifest, it cannot be read, or it lists a file outside the folder.
    """
    path = folder / contract.load().manifest
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise _error(
            f"{path} does not exist: the model was never staged, or not to its end; stage it"
        ) from None
    except OSError as error:
        raise _error(f"{path} cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise _error(f"{path} is not a manifest: {where}: {first['msg']}; stage the model again") from None
    if manifest.version != 1:
        raise _error(
            f"{path} has version {manifest.version}, this server reads version 1; use an image as new"
        )
    for file in manifest.files:
        if folder.resolve() not in (folder / file.name).resolve().parents:
            raise _error(f"{folder}: the manifest lists {file.name!r}, which lies outside the model's folder")
    return manifest


def _check_file(path: Path, file: StagedFile) -> None:
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise _error(f"{path} is missing, the manifest lists it; stage the model again") from None
    except OSError as error:
        raise _error(f"{path} cannot be read: {error.strerror}") from None
    if size != file.size:
        raise _error(f"{path} has {size} bytes, the manifest says {file.size}; stage the model again")


def _error(message: str) -> StartupError:
    return StartupError(Exit.MODEL_FILES, message)
