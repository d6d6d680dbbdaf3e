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
from tests.kubernetes.stage import CLUSTER, until
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
def test_a_cluster_ends_with_its_starter_even_by_sigkill(
    tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMSTACK_RUNNER", "process")
    running = Running(tmp_path / "world")
    try:
        starter = subprocess.Popen(
            [sys.executable, "-c", STARTER, str(running.folder), CLUSTER], cwd=checkout, env=os.environ
        )
        until("the cluster", (running.folder / "started").exists)
        started = psutil.Process(starter.pid).children(recursive=True)
        names = {name for process in started for name in NAMES if name in " ".join(process.cmdline()[:1])}
        assert names == set(NAMES)
        starter.send_signal(signal.SIGKILL)
        starter.wait(30)
        _, alive = psutil.wait_procs(started, timeout=60)
        assert alive == []
        assert not (running.folder / "cluster.json").exists()
    finally:
        running.stop()
