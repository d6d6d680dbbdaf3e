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
from fnmatch import fnmatchcase
from itertools import zip_longest
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
    ignored, exceptions = _ignored(context, dockerfile)
    for folder, folders, names in os.walk(context):
        here = Path(folder)
        links = [name for name in folders if (here / name).is_symlink()]
        folders[:] = sorted(
            name
            for name in folders
            if name not in links and _worth_a_look(ignored, exceptions, (here / name).relative_to(context))
        )
        for name in sorted([*names, *links]):
            path = here / name
            regular = path.is_symlink() or stat.S_ISREG(path.lstat().st_mode)
            if regular and not _left_out(ignored, path.relative_to(context)):
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


def _ignored(context: Path, dockerfile: Path) -> tuple[pathspec.PathSpec[Any], list[str]]:
    """The patterns in force, those beside the Dockerfile or else those of the context; and the exceptions."""
    for path in (dockerfile.with_name(dockerfile.name + ".dockerignore"), context / ".dockerignore"):
        if path.is_file():
            lines = [_anchored(line) for line in path.read_text(encoding="utf-8").splitlines()]
            exceptions = [line.removeprefix("!/") for line in lines if line.startswith("!")]
            return pathspec.PathSpec.from_lines("gitignore", lines), exceptions
    return pathspec.PathSpec([]), []


def _left_out(ignored: pathspec.PathSpec[Any], path: Path) -> bool:
    """Docker's rule: the last pattern decides that matches the path or a folder above it."""
    names = [each.as_posix() for each in (path, *path.parents[:-1])]
    decisions = [
        bool(pattern.include)
        for pattern in ignored.patterns
        if pattern.include is not None and any(pattern.match_file(name) for name in names)
    ]
    return bool(decisions) and decisions[-1]


def _worth_a_look(ignored: pathspec.PathSpec[Any], exceptions: list[str], folder: Path) -> bool:
    """Whether a folder can hold files of the context: it is not left out, or an exception reaches into it.

    Without this every file of an environment beside the sources would be matched, one by one.
    """
    return not _left_out(ignored, folder) or any(_reaches(each, folder) for each in exceptions)


def _reaches(exception: str, folder: Path) -> bool:
    for pattern, part in zip_longest(exception.split("/"), folder.parts):
        if part is None or pattern == "**":
            return True
        if pattern is None or not fnmatchcase(part, pattern):
            return False
    return True


def _anchored(line: str) -> str:
    """Docker reads every pattern from the context's root; git reads one without a slash anywhere."""
    text = line.strip()
    if not text or text.startswith("#"):
        return ""
    sign, text = ("!", text[1:]) if text.startswith("!") else ("", text)
    return f"{sign}/{text.lstrip('/').rstrip('/')}"


def _content(path: Path) -> bytes:
    if path.is_symlink():
        return str(path.readlink()).encode()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
