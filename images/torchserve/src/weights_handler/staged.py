"""The check that a staged model is complete, and what its archive says, before TorchServe is started.

TorchServe tries a worker that cannot load its model again and again, for minutes; a deployment that can never
work should end at once and say why.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from weights_handler.errors import Exit, StartupError
from weights_handler.settings import contract

HANDLER = "weights_handler"
MANIFEST_VERSION = 1


class StagedFile(BaseModel):
    """One file of a staged model; size in bytes."""

    name: str
    size: int = Field(ge=0)


class Manifest(BaseModel):
    """What the staging job wrote last: the files of the model."""

    version: int
    files: list[StagedFile] = Field(min_length=1)


class ArchivedModel(BaseModel):
    """`model` of an archive's own manifest."""

    name: str = Field(alias="modelName", min_length=1)
    handler: str
    config: str = Field(alias="configFile", min_length=1)


@dataclass(frozen=True, slots=True)
class Archive:
    """The archive, the name under which TorchServe answers, and its configuration's file."""

    path: Path
    name: str
    config: str


def check(folder: Path) -> Archive:
    """Compares the files' sizes with the manifest and reads the archive.

    Sizes only: hashing would read all weights once more at every start, and the staging job has checked the
    hashes when it wrote them.

    Args:
        folder: a model staged in the format `mar`.

    Raises:
        StartupError: something is missing, damaged or of another kind.
    """
    manifest = _manifest(folder / contract()["manifest"])
    for file in manifest.files:
        _check_file(folder, file)
    return _archive(folder / contract()["archive"])


def _manifest(path: Path) -> Manifest:
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise _error(
            f"{path} does not exist: the model was never staged, or not to its end; stage it"
        ) from None
    except OSError as error:
        raise _error(f"{path} cannot be read: {error.strerror}") from None
    except ValidationError as error:
        raise _error(f"{path} is not a manifest: {_first(error)}; stage the model again") from None
    if manifest.version != MANIFEST_VERSION:
        raise _error(
            f"{path} has version {manifest.version}, this image reads {MANIFEST_VERSION}; use an image as new"
        )
    return manifest


def _check_file(folder: Path, file: StagedFile) -> None:
    path = folder / file.name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise _error(f"{folder}: the manifest lists {file.name!r}, which lies outside the model's folder")
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise _error(f"{path} is missing, the manifest lists it; stage the model again") from None
    except OSError as error:
        raise _error(f"{path} cannot be read: {error.strerror}") from None
    if size != file.size:
        raise _error(f"{path} has {size} bytes, the manifest says {file.size}; stage the model again")


def _archive(path: Path) -> Archive:
    try:
        with zipfile.ZipFile(path) as opened:
            model = ArchivedModel.model_validate(json.loads(opened.read("MAR-INF/MANIFEST.json"))["model"])
    except FileNotFoundError:
        raise _error(f"{path} does not exist; stage the model in the format mar") from None
    except (OSError, zipfile.BadZipFile, KeyError, TypeError, ValueError) as error:
        said = _first(error) if isinstance(error, ValidationError) else str(error)
        raise _error(f"{path} is no archive of TorchServe: {said}; stage the model again") from None
    if model.handler != HANDLER:
        raise _error(
            f"{path} has the handler {model.handler!r}, not {HANDLER}; stage the model in the format mar"
        )
    return Archive(path, model.name, model.config)


def _first(error: ValidationError) -> str:
    item = error.errors()[0]
    return f"{'.'.join(str(part) for part in item['loc']) or 'the file'}: {item['msg']}"


def _error(message: str) -> StartupError:
    return StartupError(Exit.MODEL_FILES, message)
