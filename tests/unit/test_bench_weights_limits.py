"""Memory groups of the weights benchmark: where they can be made, what they limit, what they count."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.weights.limits import MemoryGroup, find_hierarchy, new_group
from bench.weights.measure import MIB, anonymous_of, measure

ONE = "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\ncgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n"
TWO = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n"


def test_a_machine_of_version_1_is_asked_at_the_memory_hierarchy_from_the_own_group_upwards() -> None:
    found = find_hierarchy(
        ONE + "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n", "4:memory:/a/b\n3:cpu:/c\n0::/\n"
    )
    assert found is not None
    assert found.version == 1
    root = Path("/sys/fs/cgroup/memory")
    assert found.parents == (root / "a/b", root / "a", root)


def test_a_machine_of_version_2_is_asked_at_the_unified_hierarchy() -> None:
    found = find_hierarchy(TWO, "0::/user.slice/x\n")
    assert found is not None
    assert found.version == 2
    root = Path("/sys/fs/cgroup")
    assert found.parents == (root / "user.slice/x", root / "user.slice", root)


def test_a_machine_without_memory_groups_has_no_hierarchy() -> None:
    assert find_hierarchy("proc /proc proc rw 0 0\n", "0::/\n") is None


@pytest.mark.parametrize(
    ("version", "limit_file", "stat"),
    [
        (1, "memory.limit_in_bytes", "cache 900\ntotal_rss 30\ntotal_shmem 4\ntotal_cache 900\n"),
        (2, "memory.max", "file 900\nanon 30\nshmem 4\n"),
    ],
)
def test_a_group_counts_memory_without_page_cache_and_has_its_limit(
    tmp_path: Path, version: int, limit_file: str, stat: str
) -> None:
    (tmp_path / "memory.stat").write_text(stat)
    group = MemoryGroup(tmp_path, version, 1000)
    assert (tmp_path / limit_file).read_text() == "1000"
    assert group.anonymous() == 34


def test_a_command_joins_its_group_before_it_begins(tmp_path: Path) -> None:
    group = MemoryGroup(tmp_path, 1, None)
    program = "import os; print(os.getpid())"
    said = subprocess.run(
        group.joined([sys.executable, "-c", program]), capture_output=True, text=True, check=True
    ).stdout
    assert (tmp_path / "cgroup.procs").read_text() == said


def test_the_kernel_ends_a_command_that_needs_more_than_its_limit(tmp_path: Path) -> None:
    probe = new_group("bench-test", None)
    if probe is None:
        pytest.skip("this machine lets this user make no memory group")
    probe.close()
    many = [sys.executable, "-c", f"print(len(b'x' * {100 * MIB}))"]
    killed = measure("bench-test", many, dict(os.environ), tmp_path / "log", 50 * MIB)
    assert (killed.exit_code, killed.killed, killed.limit_mib) == (-9, True, 50)
    free = measure("bench-test", many, dict(os.environ), tmp_path / "log", 200 * MIB)
    assert (free.exit_code, free.killed) == (0, False)
    assert free.output.split() == [str(100 * MIB)]


def test_what_a_command_cost_includes_its_children(tmp_path: Path) -> None:
    work = f"{sys.executable} -c 'sum(range(10**7))' && head -c 3000000 /dev/zero > {tmp_path}/file; exit 3"
    found = measure("bench-test", ["sh", "-c", work], dict(os.environ), tmp_path / "log")
    assert found.exit_code == 3
    assert found.cpu_seconds > 0.05
    assert found.seconds > 0
    assert found.limit_mib is None


def test_anonymous_memory_is_that_of_the_process_and_none_of_one_that_has_ended() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert anonymous_of(os.getpid()) > MIB
    assert anonymous_of(ended.pid) == 0
