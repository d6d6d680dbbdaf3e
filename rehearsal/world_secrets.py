"""Secret payloads: files that only their owner can read, and never a row of the database."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


class Secrets:
    """Payloads by the full name of their secret version.

    Args:
        folder: The world's folder; payloads lie in `secrets/` below it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "secrets"

    def put(self, name: str, payload: bytes) -> None:
        """Write a payload, readable by the owner only."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        path = self._path(name)
        temporary = path.with_suffix(f".{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(payload)
        temporary.replace(path)

    def get(self, name: str) -> bytes | None:
        """A payload, or None."""
        try:
            return self._path(name).read_bytes()
        except FileNotFoundError:
            return None

    def delete(self, name: str) -> None:
        """Forget a payload; nothing happens if there is none."""
        self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._folder / hashlib.sha256(name.encode()).hexdigest()
