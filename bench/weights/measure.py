"""What a command costs: seconds, CPU, memory without page cache, and disk, all its processes together."""

from __future__ import annotations

import os
import resource
import subprocess
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from bench.weights.limits import MemoryGroup, new_group

SAMPLE_SECONDS = 0.02
MIB = 1024 * 1024


@dataclass(frozen=True)
class Usage:
    """What a command cost.

    Attributes:
        exit_code: Negative for the signal that ended it.
        seconds: From its start to its end.
        cpu_seconds: User and system time.
        anonymous_mib: The most anonymous and shared memory that a sample found, page cache excluded.
        resident_mib: The kernel's highest mark of one process's resident memory (VmHWM), files that it maps
            included: program text, and pages of the page cache that it reads through a mapping.
        group_mib: The kernel's highest mark of the memory group, all page cache and kernel memory included.
        limit_mib: The group's hard limit; None for none.
        killed: Whether the kernel killed a process because of the limit; None where there is no group.
        disk_read: Bytes fetched from disks (what the page cache had is not among them).
        disk_written: Bytes dirtied in files on disks.
        output: The last of what it said.
    """

    exit_code: int
    seconds: float
    cpu_seconds: float
    anonymous_mib: float
    resident_mib: float
    group_mib: float | None
    limit_mib: float | None
    killed: bool | None
    disk_read: int
    disk_written: int
    output: str

    def plain(self) -> dict[str, Any]:
        """As data, without what it said."""
        return {key: value for key, value in asdict(self).items() if key != "output"}


class _Sampler(threading.Thread):
    """Looks at memory now and then, and keeps the highest."""

    def __init__(self, pid: int, group: MemoryGroup | None) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._group = group
        self._ended = threading.Event()
        self.highest = 0

    def run(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            self.highest = max(self.highest, self._look())

    def stop(self) -> None:
        self._ended.set()
        self.join()

    def _look(self) -> int:
        if self._group is not None:
            return self._group.anonymous()
        try:
            parent = psutil.Process(self._pid)
            return sum(anonymous_of(each.pid) for each in (parent, *parent.children(recursive=True)))
        except psutil.Error:
            return 0


def anonymous_of(pid: int) -> int:
    """Bytes of anonymous and shared memory of one process, 0 if it has ended (proc_pid_status(5))."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return sum(int(fields.get(key, "0 kB").split()[0]) * 1024 for key in ("RssAnon", "RssShmem"))


def measure(
    name: str, command: list[str], environment: dict[str, str], log: Path, limit: int | None = None
) -> Usage:
    """Run a command and note what it cost.

    Where a memory group can be made the command gets one of its own, with the limit. Where none can be made
    memory is sampled from /proc, and nothing is limited: `limit_mib` is None then.

    Args:
        name: For the memory group.
        command: Program and arguments.
        environment: All its variables.
        log: File that receives its output.
        limit: Bytes for the hard limit of all its processes together.
    """
    group = new_group(f"bench-{name}", limit)
    try:
        return _measure(command, environment, log, group, limit)
    finally:
        if group is not None:
            group.close()


def _measure(
    command: list[str], environment: dict[str, str], log: Path, group: MemoryGroup | None, limit: int | None
) -> Usage:
    with log.open("wb") as output:
        began = time.monotonic()
        process = subprocess.Popen(
            group.joined(command) if group else command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        sampler = _Sampler(process.pid, group)
        sampler.start()
        # It stays a zombie until its accounts are read, and with it the sums over its children.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        seconds = time.monotonic() - began
        sampler.stop()
        disk = _disk(process.pid)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return _usage(process.returncode, seconds, used, sampler.highest, group, limit, disk, log)


def _usage(
    exit_code: int,
    seconds: float,
    used: resource.struct_rusage,
    highest: int,
    group: MemoryGroup | None,
    limit: int | None,
    disk: dict[str, int],
    log: Path,
) -> Usage:
    peak = group.peak() if group else None
    return Usage(
        exit_code=exit_code,
        seconds=round(seconds, 3),
        cpu_seconds=round(used.ru_utime + used.ru_stime, 3),
        anonymous_mib=round(highest / MIB, 1),
        resident_mib=round(used.ru_maxrss / 1024, 1),
        group_mib=round(peak / MIB, 1) if peak is not None else None,
        limit_mib=limit / MIB if group and limit else None,
        killed=group.kills() > 0 if group else None,
        disk_read=disk["read_bytes"],
        disk_written=disk["write_bytes"],
        output=log.read_text(errors="replace")[-2000:],
    )


def _disk(pid: int) -> dict[str, int]:
    """A process's account of disk traffic, its ended children included (proc_pid_io(5))."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return {key: int(value) for key, value in (line.split(": ") for line in lines)}
