"""A container image's build context: what belongs to it, its hashes, and a snapshot of it.

Rules of what belongs to a context: https://docs.docker.com/build/concepts/context/#dockerignore-files.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pathspec

_NEVER_SNAPSHOT = ".venv"
"""An environment that somebody made beside the sources: large, and wrong at another place."""


@dataclass(frozen=True, slots=True)
class Build:
    """What an image is built from.

    Attributes:
        context: The context's folder.
        dockerfile: The Dockerfile; its content counts even where .dockerignore leaves it out.
        settings: Whatever else decides what comes out: arguments, platforms, target, labels.
    """

    context: Path
    dockerfile: Path
    settings: Mapping[str, Any]

    def context_hash(self) -> str:
        """SHA-256 over Dockerfile and context: names, modes and contents."""
        digest = hashlib.sha256(self.dockerfile.read_bytes())
        for path in files(self.context, self.dockerfile):
            digest.update(path.relative_to(self.context).as_posix().encode())
            digest.update(stat.filemode(path.lstat().st_mode).encode())
            digest.update(_content(path))
        return digest.hexdigest()

    def digest(self, context_hash: str) -> str:
        """The image's digest: the same inputs give the same one, and any other another."""
        settings = json.dumps(self.settings, sort_keys=True)
        return "sha256:" + hashlib.sha256(f"{context_hash}\n{settings}".encode()).hexdigest()


def files(context: Path, dockerfile: Path) -> Iterator[Path]:
    """The files and links of a context, sorted, without what .dockerignore leaves out."""
    ignored = _ignored(context, dockerfile)
    keeps_some = any(pattern.include is False for pattern in ignored.patterns)
    for folder, folders, names in os.walk(context):
        here = Path(folder)
        links = [name for name in folders if (here / name).is_symlink()]
        folders[:] = sorted(
            name
            for name in folders
            if name not in links and (keeps_some or not _matches(ignored, context, here / name))
        )
        for name in sorted([*names, *links]):
            path = here / name
            regular = path.is_symlink() or stat.S_ISREG(path.lstat().st_mode)
            if regular and not _matches(ignored, context, path):
                yield path


def snapshot(build: Build, target: Path) -> None:
    """Copy a context to `target`, whole or not at all; one that is there already stays."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=target.parent, prefix=".staging-"))
    try:
        for path in files(build.context, build.dockerfile):
            relative = path.relative_to(build.context)
            if _NEVER_SNAPSHOT in relative.parts:
                continue
            (staging / relative).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, staging / relative, follow_symlinks=False)
        if not (staging / "Dockerfile").exists():
            shutil.copy2(build.dockerfile, staging / "Dockerfile")
        staging.chmod(0o755)
        try:
            staging.rename(target)
        except OSError:
            if not target.is_dir():  # otherwise another process was faster, with the same content
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _ignored(context: Path, dockerfile: Path) -> pathspec.GitIgnoreSpec | pathspec.PathSpec[Any]:
    """The patterns in force: those beside the Dockerfile, else those of the context."""
    for path in (dockerfile.with_name(dockerfile.name + ".dockerignore"), context / ".dockerignore"):
        if path.is_file():
            return pathspec.PathSpec.from_lines("gitignore", map(_anchored, path.read_text().splitlines()))
    return pathspec.PathSpec([])


def _anchored(line: str) -> str:
    """Docker reads every pattern from the context's root; git reads one without a slash anywhere."""
    text = line.strip()
    if not text or text.startswith("#"):
        return ""
    sign, text = ("!", text[1:]) if text.startswith("!") else ("", text)
    return f"{sign}/{text.lstrip('/').rstrip('/')}"


def _matches(ignored: Any, context: Path, path: Path) -> bool:
    return bool(ignored.match_file(path.relative_to(context).as_posix()))


def _content(path: Path) -> bytes:
    if path.is_symlink():
        return str(path.readlink()).encode()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
