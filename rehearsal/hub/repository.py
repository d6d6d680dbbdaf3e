"""Repositories as folders: `ROOT/OWNER/NAME/REVISION/files`, or `ROOT/NAME/REVISION/files`.

A file `gated` beside the revisions makes a repository gated: each of its lines is a token that may read it;
an empty file lets any token in.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

REPOSITORY = re.compile(r"[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)?")
REVISION = re.compile(r"[0-9a-f]{40}")
GATE = "gated"
LFS_SUFFIXES = {".safetensors", ".bin", ".model", ".msgpack", ".h5", ".pt", ".gguf", ".onnx"}
LFS_BYTES = 10 * 1024 * 1024
"""The Hub refuses larger files outside LFS: https://huggingface.co/docs/hub/storage-limits"""


class NotFoundError(Exception):
    """Something asked for does not exist.

    Args:
        code: the Hub's own error code, sent as `X-Error-Code`.
        message: one line for a person.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of one revision."""

    name: str
    path: Path
    size: int
    lfs_oid: str | None
    """sha256 where the file lies in LFS, else None."""
    oid: str
    """git's id of the blob; for a file in LFS that of its pointer."""

    @property
    def etag(self) -> str:
        """What identifies the content: sha256 in LFS, git's id elsewhere, as on the Hub."""
        return self.lfs_oid or self.oid

    def tree_entry(self) -> dict[str, object]:
        """The file as the Hub's tree lists it."""
        entry: dict[str, object] = {"type": "file", "oid": self.oid, "size": self.size, "path": self.name}
        if self.lfs_oid:
            pointer = len(_pointer(self.lfs_oid, self.size))
            entry["lfs"] = {"oid": self.lfs_oid, "size": self.size, "pointerSize": pointer}
        return entry


@dataclass(frozen=True, slots=True)
class Revision:
    """One commit of one repository."""

    repository: str
    sha: str
    folder: Path
    tokens: frozenset[str] | None
    """Who may read: None is everybody, an empty set anybody with a token."""

    def files(self) -> list[HubFile]:
        """All files, sorted by name."""
        paths = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return [_describe(self.folder, path) for path in paths]

    def file(self, name: str) -> HubFile:
        """One file.

        Raises:
            NotFoundError: there is none of that name, or the name leads out of the revision's folder.
        """
        path = self.folder / name
        inside = path.resolve().is_relative_to(self.folder.resolve())
        if not inside or ".." in Path(name).parts or not path.is_file():
            raise NotFoundError("EntryNotFound", f"{self.repository}@{self.sha} has no file {name}")
        return _describe(self.folder, path)


def find(root: Path, repository: str, revision: str) -> Revision:
    """Looks a revision up.

    Args:
        root: the folder of all repositories.
        repository: `OWNER/NAME` or `NAME`.
        revision: a commit, or `main` for the newest.

    Raises:
        NotFoundError: there is no such repository or revision.
    """
    folder = root / repository
    if not REPOSITORY.fullmatch(repository) or not _revisions(folder):
        raise NotFoundError("RepoNotFound", f"there is no repository {repository}")
    sha = _revisions(folder)[-1] if revision == "main" else revision
    if sha not in _revisions(folder):
        raise NotFoundError("RevisionNotFound", f"{repository} has no revision {revision}")
    gate = folder / GATE
    tokens = frozenset(gate.read_text().split()) if gate.exists() else None
    return Revision(repository, sha, folder / sha, tokens)


def _revisions(folder: Path) -> list[str]:
    """The commits of a repository, oldest first; none where the folder is no repository."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if path.is_dir() and REVISION.fullmatch(path.name)]
    return [path.name for path in sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name))]


def _describe(folder: Path, path: Path) -> HubFile:
    status = path.stat()
    name = path.relative_to(folder).as_posix()
    lfs = path.suffix in LFS_SUFFIXES or status.st_size > LFS_BYTES
    sha256, blob = _hashes(path, status.st_mtime_ns, status.st_size)
    if not lfs:
        return HubFile(name, path, status.st_size, None, blob)
    return HubFile(name, path, status.st_size, sha256, _git_blob(_pointer(sha256, status.st_size)))


@lru_cache(maxsize=4096)
def _hashes(path: Path, _changed: int, size: int) -> tuple[str, str]:
    """sha256 and git's blob id of a file; remembered until the file changes."""
    sha256 = hashlib.sha256()
    blob = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            sha256.update(chunk)
            blob.update(chunk)
    return sha256.hexdigest(), blob.hexdigest()


def _git_blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _pointer(oid: str, size: int) -> bytes:
    """What git holds in place of a file in LFS: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md"""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n".encode()
