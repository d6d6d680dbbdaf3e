"""A staged model from Cloud Storage to a folder: how Vertex AI hands a model's artifacts to a container."""

from __future__ import annotations

import base64
import logging
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from serve import contract, manifest
from serve.errors import Exit, StartupError
from serve.settings import GCS

if TYPE_CHECKING:
    from google.cloud.storage import Blob

LOG = logging.getLogger(__name__)
SPARE_BYTES = 64 * 2**20
"""Left free on the disk, for whatever else the container writes."""
ATTEMPTS = 3
"""Downloads of a file whose bytes turn out not to be the object's, before that is said."""
PARTIAL = ".partial"
"""Ends the name of a file that is not complete yet."""
BLOCK = 2**20


def download(uri: str, folder: Path) -> None:
    """Downloads the model. Files that an earlier start completed are kept if they are the same.

    The bytes are compared with the checksum (CRC32C) that Cloud Storage keeps of each object.
    `STORAGE_EMULATOR_HOST` is honoured; else the credentials are the container's own.

    Args:
        uri: `gs://BUCKET/PREFIX`, holding the manifest and the files that it lists.
        folder: made if it is not there; belongs to this address alone.

    Raises:
        StartupError: no access, nothing there, no space, or bytes that stay wrong.
    """
    # A second's import, of no use to a server whose model is mounted.
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError
    from google.cloud.storage.exceptions import DataCorruption
    from requests.exceptions import RequestException

    started = time.monotonic()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _download(uri, folder)
    except (GoogleAPIError, GoogleAuthError, RequestException) as error:
        raise _failed(uri, _cause(error)) from None
    except DataCorruption:
        raise _failed(uri, f"after {ATTEMPTS} downloads, a file's checksum is still another") from None
    except OSError as error:
        raise _failed(uri, f"{error.filename or folder}: {error.strerror or error}") from None
    LOG.info("downloaded", extra={"source": uri, "seconds": round(time.monotonic() - started, 3)})


def _download(uri: str, folder: Path) -> None:
    name = contract.load().manifest
    blobs = _listed(uri)
    if name not in blobs:
        raise _failed(uri, f"there is no {name}: the model was never staged, or not to its end; stage it")
    if not _holds(folder / name, blobs[name]):
        _fetch(blobs[name], folder / name)
    # A file that is listed but not there is named by the check of the whole model.
    listed = [file.name for file in manifest.read(folder).files if file.name in blobs]
    missing = {name: blobs[name] for name in listed if not _holds(folder / name, blobs[name])}
    _check_space(uri, folder, sum(blob.size for blob in missing.values()))
    for name, blob in missing.items():
        LOG.info("downloading", extra={"source": uri, "file": name, "bytes": blob.size})
        _fetch(blob, folder / name)


def _listed(uri: str) -> dict[str, Blob]:
    """The objects below the address, by their name below it."""
    from google.cloud.storage import Client

    bucket, _, prefix = uri.removeprefix(GCS).strip("/").partition("/")
    prefix = f"{prefix}/" if prefix else ""
    blobs = Client().list_blobs(bucket, prefix=prefix)
    return {blob.name.removeprefix(prefix): blob for blob in blobs}


def _holds(path: Path, blob: Blob) -> bool:
    """Whether the file is there and has the object's bytes."""
    import google_crc32c

    if not path.is_file() or path.stat().st_size != blob.size:
        return False
    checksum = google_crc32c.Checksum()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            checksum.update(block)
    return base64.b64encode(checksum.digest()).decode() == blob.crc32c


def _fetch(blob: Blob, path: Path) -> None:
    """Downloads one object, in several ranges at once; the file has its name only when it is complete."""
    from google.cloud.storage import transfer_manager
    from google.cloud.storage.exceptions import DataCorruption

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + PARTIAL)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            # Threads, because processes would outlive a server that is told to end in the middle.
            transfer_manager.download_chunks_concurrently(
                blob, str(partial), worker_type=transfer_manager.THREAD
            )
        except DataCorruption:
            LOG.warning("bytes are not the object's", extra={"file": path.name, "attempt": attempt})
            if attempt == ATTEMPTS:
                raise
        else:
            partial.rename(path)
            return


def _check_space(uri: str, folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed + SPARE_BYTES > free:
        message = f"{needed / 2**20:.0f} MiB are to be downloaded, {folder} has {free / 2**20:.0f} MiB free"
        raise _failed(uri, f"{message}: give the container more disk, or set MODEL_CACHE to a larger one")


def _cause(error: Exception) -> str:
    """One line on why Cloud Storage gave nothing, and what to do where that is known."""
    line = " ".join(str(error).split()) or "no reason is given"
    status = getattr(error, "code", None)
    if status in (401, 403):
        return f"{line}: grant roles/storage.objectViewer to the service account that the container runs as"
    if status == 404:
        return f"{line}: is the address right?"
    return f"{type(error).__name__}: {line}"


def _failed(uri: str, reason: str) -> StartupError:
    return StartupError(Exit.MODEL_FILES, f"{uri} cannot be downloaded: {reason}")
