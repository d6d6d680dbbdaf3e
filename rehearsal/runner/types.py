"""What a runner starts and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


class StartError(Exception):
    """A container that cannot be started; the message says why in one line."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A volume that the container sees as a folder: a bucket, or an empty one of its own."""

    source: Path
    """Where it is on this machine."""
    target: str
    """Where the container sees it, for instance `/mnt/models`."""
    read_only: bool


@dataclass(frozen=True, slots=True)
class Image:
    """An image that this rehearsal built: the snapshot of its build context."""

    name: str
    digest: str
    snapshot: Path
    context: Path
    """The folder that it was built from; its `.venv` is what runs where there is no Docker."""
    build_args: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WorkloadSpec:
    """One container to run."""

    id: str
    folder: Path
    """Its own folder, `workloads/<id>`: log, state, temporary files."""
    world: Path
    """The rehearsal's folder."""
    image: Image
    command: tuple[str, ...]
    """Replaces the image's entry point unless empty."""
    args: tuple[str, ...]
    env: Mapping[str, str]
    """What the platform gives to the container; it holds the payloads of secrets."""
    mounts: tuple[Mount, ...] = ()
    cpu: str = ""
    """Google's quantity, for instance `2` or `500m`; empty: no limit."""
    memory: str = ""
    """Google's quantity, for instance `4Gi`; empty: no limit."""

    @property
    def log(self) -> Path:
        """Standard output and standard error."""
        return self.folder / "log"


class Handle(Protocol):
    """A started container."""

    def poll(self) -> int | None:
        """The exit code, or None while it runs. A signal's exit code is 128 + its number."""

    def terminate(self, grace: float) -> None:
        """SIGTERM, and SIGKILL for what is left after `grace` seconds. Returns when nothing is left."""

    def execute(self, command: Sequence[str], timeout: float) -> str | None:
        """Run a command in the container: None if it ends with 0 within `timeout` seconds, else why not."""

    def state(self) -> Mapping[str, str]:
        """What `Runner.adopt` needs to find it again."""


class Runner(Protocol):
    """Starts containers."""

    name: str

    def start(self, spec: WorkloadSpec) -> Handle:
        """Start a container.

        Raises:
            StartError: with the reason and the remedy.
        """

    def adopt(self, folder: Path, state: Mapping[str, str]) -> Handle | None:
        """The handle of a container that an earlier process started; None when it is gone without a trace."""


def tail(log: Path, lines: int = 5, limit: int = 64 * 1024) -> list[str]:
    """The last lines of a log that are not blank.

    Args:
        lines: how many at most.
        limit: bytes read from the end, so that a long log costs nothing.
    """
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - limit))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return []
    return [line.strip() for line in text.splitlines() if line.strip()][-lines:]
