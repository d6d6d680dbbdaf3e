"""A memory cgroup for one command and all that it starts: its hard limit and what the kernel counted.

Version 1 (`memory` hierarchy) and version 2 (unified) are both used as the kernel's documentation says:
docs.kernel.org/admin-guide/cgroup-v1/memory.html and docs.kernel.org/admin-guide/cgroup-v2.html.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_REMOVE_SECONDS = 5.0


@dataclass(frozen=True)
class Hierarchy:
    """Where memory groups can be made.

    Attributes:
        version: 1 or 2.
        parents: Folders in which one may be made, the process's own group first.
    """

    version: int
    parents: tuple[Path, ...]


def find_hierarchy(mounts: str, own: str) -> Hierarchy | None:
    """Find the memory hierarchy.

    Args:
        mounts: Content of `/proc/self/mounts`.
        own: Content of `/proc/self/cgroup`.

    Returns:
        None where no memory hierarchy is mounted.
    """
    lines = [line.split() for line in mounts.splitlines()]
    first = [Path(place) for _, place, kind, options, *_ in lines if _holds_memory(kind, options)]
    second = [Path(place) for _, place, kind, *_ in lines if kind == "cgroup2"]
    groups = dict(_own_groups(own.splitlines()))
    # Where version 1 has the memory controller, version 2 is mounted without it.
    if first:
        return Hierarchy(1, _parents(first[0], groups.get("memory", "/")))
    if second:
        return Hierarchy(2, _parents(second[0], groups.get("", "/")))
    return None


def _holds_memory(kind: str, options: str) -> bool:
    return kind == "cgroup" and "memory" in options.split(",")


def _own_groups(lines: Iterable[str]) -> Iterable[tuple[str, str]]:
    for line in lines:
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            yield controller, path


def _parents(root: Path, own: str) -> tuple[Path, ...]:
    """The process's own group and all above it, up to the mounted one."""
    inner = root / own.strip("/")
    return tuple(place for place in (inner, *inner.parents) if place.is_relative_to(root))


class MemoryGroup:
    """A group that exists until `close`.

    Args:
        folder: Its folder, made already.
        version: 1 or 2.
        limit: Bytes that all its processes may use together, page cache and kernel memory included; or None.

    Raises:
        OSError: The limit cannot be set.
    """

    def __init__(self, folder: Path, version: int, limit: int | None) -> None:
        self.folder = folder
        self.version = version
        if limit is not None:
            (folder / ("memory.limit_in_bytes" if version == 1 else "memory.max")).write_text(str(limit))
            with suppress(OSError):  # a kernel without swap accounting has no such file, and mostly no swap
                swap = ("memory.memsw.limit_in_bytes", limit) if version == 1 else ("memory.swap.max", 0)
                (folder / swap[0]).write_text(str(swap[1]))

    def joined(self, command: list[str]) -> list[str]:
        """The command, started so that it is in the group from its first instruction on."""
        return ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self.folder / "cgroup.procs"), *command]

    def anonymous(self) -> int:
        """Bytes in use now, without page cache: anonymous memory and shared memory."""
        keys = ("total_rss", "total_shmem") if self.version == 1 else ("anon", "shmem")
        return sum(self._numbers("memory.stat").get(key, 0) for key in keys)

    def peak(self) -> int | None:
        """The most bytes in use at once by the kernel's own count, page cache and kernel memory included."""
        name = "memory.max_usage_in_bytes" if self.version == 1 else "memory.peak"
        try:
            return int((self.folder / name).read_text())
        except OSError:
            return None  # memory.peak is there since Linux 5.19

    def kills(self) -> int:
        """How many processes the kernel killed because the limit was reached."""
        return self._numbers("memory.oom_control" if self.version == 1 else "memory.events")["oom_kill"]

    def close(self) -> None:
        """Remove the group; its processes have ended."""
        until = time.monotonic() + _REMOVE_SECONDS
        while True:
            try:
                self.folder.rmdir()
                return
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)  # the kernel takes a moment to let ended processes go

    def _numbers(self, name: str) -> dict[str, int]:
        lines = (line.split() for line in (self.folder / name).read_text().splitlines())
        return {key: int(value) for key, value in lines}


def new_group(name: str, limit: int | None) -> MemoryGroup | None:
    """Make a group for one command.

    Args:
        name: Its name; the process's number is added.
        limit: As in `MemoryGroup`.

    Returns:
        None where this process cannot make one: no such hierarchy, or no right to it.
    """
    try:
        found = find_hierarchy(Path("/proc/self/mounts").read_text(), Path("/proc/self/cgroup").read_text())
    except OSError:
        return None  # not Linux
    for parent in found.parents if found else ():
        folder = parent / f"{name}-{os.getpid()}"
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            # A group of version 2 has the files only if its parent hands the controller down.
            (folder / "memory.stat").read_text()
            return MemoryGroup(folder, found.version if found else 0, limit)
        except OSError:
            folder.rmdir()
    return None
