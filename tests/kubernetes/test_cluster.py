"""The rehearsed cluster itself: it ends with whoever started it, and keeps nothing running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from rehearsal.cluster.programs import NAMES
from rehearsal.cluster.state import running
from tests.kubernetes.stage import CLUSTER, listening, until
from tests.unit.cloud_world import Running

STARTER = """
import sys, time
from pathlib import Path
from rehearsal.cluster.client import RehearsedCluster
RehearsedCluster(Path(sys.argv[1]), sys.argv[2])
Path(sys.argv[1], "started").touch()
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent is gone")
@pytest.mark.parametrize("victim", ["whoever started it", "itself"])
def test_a_cluster_leaves_nothing_running_when_a_process_is_killed(
    tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch, victim: str
) -> None:
    monkeypatch.setenv("LLMSTACK_RUNNER", "process")
    world = Running(tmp_path / "world")
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(world.folder), CLUSTER], cwd=checkout, env=os.environ
    )
    try:
        until("the cluster", (world.folder / "started").exists)
        started = psutil.Process(starter.pid).children(recursive=True)
        names = {name for process in started for name in NAMES if name in " ".join(process.cmdline()[:1])}
        assert names == set(NAMES)
        assert listening(started) == {"127.0.0.1"}
        state = running(world.folder)
        assert state is not None
        os.kill(state.process if victim == "itself" else starter.pid, signal.SIGKILL)
        until("the end", lambda: all(map(_ended, started)))
        assert running(world.folder) is None
    finally:
        starter.kill()
        starter.wait(30)
        world.stop()


def _ended(process: psutil.Process) -> bool:
    """Whether it runs no more; the one that was killed is a zombie while its starter lives."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
