"""A staged model from Cloud Storage to a folder: Vertex AI gives a container the address of its model.

Every file is compared with the checksum that Cloud Storage keeps of it. What an earlier start has completed
stays where its size is right.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weights_handler.errors import Exit, StartupError
from weights_handler.settings import GCS, contract

if TYPE_CHECKING:
    from google.cloud.storage import Blob

ATTEMPTS = 3
"""Downloads of a file whose bytes turn out not to be the object's, before that is said."""
SPARE_BYTES = 64 * 2**20
"""Left free on the disk, for TorchServe's own files."""
PARTIAL = ".partial"
"""Ends the name of a file that is not complete yet."""


def download(uri: str, folder: Path) -> None:
    """Downloads what lies below an address.

    Args:
        uri: `gs://BUCKET/PREFIX` of a staged model.
        folder: receives the files; belongs to this address alone.

    Raises:
        StartupError: no access, nothing there, no space, or bytes that stay wrong.
    """
    # A second's import, of no use where the model is mounted.
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError
    from google.cloud.storage.exceptions import DataCorruption
    from requests.exceptions import RequestException

    try:
        folder.mkdir(parents=True, exist_ok=True)
        _all(uri, folder)
    except DataCorruption:
        raise _failed(uri, f"after {ATTEMPTS} downloads a file's checksum is still another") from None
    except (GoogleAPIError, GoogleAuthError, RequestException) as error:
        raise _failed(uri, _cause(error)) from None
    except OSError as error:
        raise _failed(uri, f"{error.filename or folder}: {error.strerror or error}") from None


def _all(uri: str, folder: Path) -> None:
    blobs = _listed(uri)
    if contract()["manifest"] not in blobs:
        raise _failed(uri, f"there is no {contract()['manifest']}: stage the model, to its end")
    for name in blobs:
        if folder.resolve() not in (folder / name).resolve().parents:
            raise _failed(uri, f"{name!r} would lie outside of {folder}")
    missing = {name: blob for name, blob in blobs.items() if not _complete(folder / name, blob)}
    needed, free = sum(blob.size for blob in missing.values()), shutil.disk_usage(folder).free
    if needed + SPARE_BYTES > free:
        raise _failed(
            uri,
            f"{needed / 2**20:.0f} MiB are to be downloaded, {folder} has {free / 2**20:.0f} MiB free: "
            "set MODEL_CACHE to a folder on a larger disk",
        )
    for name, blob in missing.items():
        sys.stdout.write(f"torchserve: downloading {name}, {blob.size / 2**20:.1f} MiB\n")
        sys.stdout.flush()
        _one(blob, folder / name)


def _listed(uri: str) -> dict[str, Blob]:
    """The objects below the address, by their names below it."""
    from google.cloud.storage import Client

    bucket, _, prefix = uri.removeprefix(GCS).strip("/").partition("/")
    prefix = f"{prefix}/" if prefix else ""
    found: Any = Client().list_blobs(bucket, prefix=prefix)
    return {blob.name.removeprefix(prefix): blob for blob in found if not blob.name.endswith("/")}


def _complete(path: Path, blob: Blob) -> bool:
    """Whether an earlier start has completed a file: only then does it have its name."""
    return path.is_file() and path.stat().st_size == blob.size


def _one(blob: Blob, path: Path) -> None:
    """Downloads one object, in several ranges at once, and compares its checksum."""
    from google.cloud.storage import transfer_manager
    from google.cloud.storage.exceptions import DataCorruption

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + PARTIAL)
    for attempt in range(ATTEMPTS):
        try:
            # Threads, because processes would outlive a start that is told to end.
            transfer_manager.download_chunks_concurrently(
                blob, str(partial), worker_type=transfer_manager.THREAD
            )
        except DataCorruption:
            if attempt == ATTEMPTS - 1:
                raise
        else:
            partial.rename(path)
            return


def _cause(error: Exception) -> str:
    """One line on why Cloud Storage gave nothing, and what to do where that is known."""
    line = " ".join(str(error).split()) or type(error).__name__
    status = getattr(error, "code", None)
    if status in (401, 403):
        return f"{line}: grant roles/storage.objectViewer to the service account that the container runs as"
    return f"{line}: is the address right?" if status == 404 else line


def _failed(uri: str, reason: str) -> StartupError:
    return StartupError(Exit.MODEL_FILES, f"{uri} cannot be downloaded: {reason}")
