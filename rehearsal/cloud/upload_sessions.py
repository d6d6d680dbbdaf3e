"""Resumable uploads to Cloud Storage as files, so that they survive a restart of the cloud process.

https://cloud.google.com/storage/docs/performing-resumable-uploads
"""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from rehearsal.cloud.errors import ApiError

CHUNK_MULTIPLE = 256 * 1024
"""Every chunk but the last is a multiple of this many bytes."""
_CONTENT_RANGE = re.compile(r"bytes (?:(\*)|(\d+)-(\d+))/(\*|\d+)")
_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Target:
    """What an upload will write."""

    bucket: str
    name: str
    content_type: str
    metadata: dict[str, str]
    if_generation_match: int | None
    crc32c: str | None
    """Base64, as the client announced it; None: not checked."""
    md5: str | None


@dataclass(frozen=True, slots=True)
class ContentRange:
    """A parsed Content-Range header."""

    start: int | None
    """None: the request only asks how far the upload got."""
    total: int | None
    """None: not known yet."""


class Sessions:
    """The uploads that have begun.

    Args:
        folder: where their bytes wait; the same file system as the buckets, so that they can be moved.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)

    def begin(self, target: Target) -> str:
        """Start a resumable upload; returns its id."""
        upload = self.scratch()
        (self._folder / f"{upload}.json").write_text(json.dumps(asdict(target)), encoding="utf-8")
        return upload

    def scratch(self) -> str:
        """An id for bytes that arrive in one request, which nobody can resume."""
        upload = secrets.token_hex(16)
        self.part(upload).touch()
        return upload

    def target(self, upload: str) -> Target:
        """What an upload will write.

        Raises:
            ApiError: 404, there is no such upload (any more).
        """
        path = self._folder / f"{upload}.json"
        if not _ID.fullmatch(upload) or not path.exists():
            raise ApiError("NOT_FOUND", f"No such upload session: {upload}")
        return Target(**json.loads(path.read_text(encoding="utf-8")))

    def part(self, upload: str) -> Path:
        """The file that holds what has arrived."""
        return self._folder / f"{upload}.part"

    def end(self, upload: str) -> None:
        """Forget an upload and what has arrived of it."""
        for suffix in ("json", "part"):
            (self._folder / f"{upload}.{suffix}").unlink(missing_ok=True)


def content_range(header: str | None, persisted: int) -> ContentRange:
    """What a PUT request sends.

    Args:
        header: its Content-Range; None: everything in one request.
        persisted: bytes that have arrived before.

    Raises:
        ApiError: not a Content-Range, or one that leaves a gap.
    """
    if header is None:
        return ContentRange(0, None)
    match = _CONTENT_RANGE.fullmatch(header)
    if match is None:
        raise ApiError("INVALID_ARGUMENT", f"Failed to parse Content-Range header: {header!r}")
    query, first, _, total = match.groups()
    known = None if total == "*" else int(total)
    if query:
        return ContentRange(None, known)
    if int(first) > persisted:
        message = f"Invalid request. The upload has {persisted} bytes, a chunk cannot begin at {first}."
        raise ApiError("INVALID_ARGUMENT", message)
    return ContentRange(int(first), known)
