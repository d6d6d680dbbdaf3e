"""The version of the project that a change is compared with; the working tree is not touched."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_ENVIRONMENTS = (".venv", ".engine")
"""What a checkout installs, taken from the working tree: the base runs with the libraries of the change."""
_NOT_COPIED = (*_ENVIRONMENTS, ".git", ".rehearsal", "__pycache__", ".mypy_cache", ".ruff_cache")


class BaseError(Exception):
    """There is no such version; one line that names it and the remedy."""


@dataclass(frozen=True)
class Base:
    """A version of the project."""

    root: Path
    label: str
    """What a person calls it."""

    def stack_file(self, stack: str) -> Path | None:
        """The stack's file there; None where the stack did not exist yet."""
        path = self.root / f"Pulumi.{stack}.yaml"
        return path if path.is_file() else None


@contextmanager
def base_version(root: Path, wanted: str) -> Iterator[Base]:
    """A copy of a version of the project, removed afterwards.

    Args:
        root: the working tree.
        wanted: a folder that holds the project, or anything that git takes for a commit.

    Raises:
        BaseError: it is neither.
    """
    with tempfile.TemporaryDirectory(prefix="llmstack-base-") as temporary:
        # The interpreter and the engine compare paths: no link may stand between.
        target = Path(temporary).resolve() / "project"
        folder = Path(wanted)
        if folder.is_dir():
            shutil.copytree(folder, target, symlinks=True, ignore=shutil.ignore_patterns(*_NOT_COPIED))
            label = folder.name or str(folder.resolve())
        else:
            label = _extract(root, wanted, target)
        if not (target / "Pulumi.yaml").is_file():
            raise BaseError(
                f"--base {wanted}: there is no Pulumi.yaml: name a folder or a commit of this project"
            )
        _take_modes(target, root)
        for name in _ENVIRONMENTS:
            if (root / name).exists():
                (target / name).symlink_to(root / name)
        yield Base(target, label)


def _extract(root: Path, wanted: str, target: Path) -> str:
    """Write a commit's files to `target`; returns its short name. Neither index nor working tree changes."""
    found = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{wanted}^{{commit}}")
    if found is None:
        raise BaseError(
            f"--base {wanted}: neither a folder nor a commit that this clone has: "
            "fetch it first, or name another"
        )
    commit = found.decode().strip()
    archive = _git(root, "archive", "--format=tar", commit)
    if archive is None:
        raise BaseError(
            f"--base {wanted}: git cannot read commit {commit}: fetch it whole, then run this again"
        )
    with tempfile.TemporaryFile() as file:
        file.write(archive)
        file.seek(0)
        with tarfile.open(fileobj=file) as packed:
            packed.extractall(target, filter="data")
    return f"{wanted} ({commit[:9]})" if not commit.startswith(wanted) else commit[:9]


def _take_modes(target: Path, root: Path) -> None:
    """Give files the permissions that they have in the working tree.

    Git keeps the executable bit alone, and a container image's build context counts them all: a file that did
    not change would otherwise change the image.
    """
    for path in target.rglob("*"):
        here = root / path.relative_to(target)
        if path.is_symlink() or not path.is_file() or not here.is_file():
            continue
        mode, wanted = path.stat().st_mode, here.stat().st_mode
        if bool(mode & 0o100) == bool(wanted & 0o100):
            path.chmod(wanted & 0o777)


def _git(root: Path, *arguments: str) -> bytes | None:
    """What git prints; None where it fails or is not installed."""
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=False)
    except FileNotFoundError:
        raise BaseError("git is not installed: install it, or give --base a folder") from None
    return done.stdout if done.returncode == 0 else None
