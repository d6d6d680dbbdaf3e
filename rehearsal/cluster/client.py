"""Starts the cluster of a rehearsal, for as long as whoever starts it lives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from rehearsal.cluster.programs import CHECKOUT, ClusterError, tied
from rehearsal.cluster.state import ClusterState, running
from rehearsal.runner.types import tail

START_SECONDS = 180.0
STOP_SECONDS = 60.0
_POLL_SECONDS = 0.2


class RehearsedCluster:
    """A running cluster.

    Args:
        folder: the world's folder.
        cluster: `projects/P/locations/L/clusters/C`.
        pools: its nodes are those of the world's node pools, instead of one that takes every pod.

    Raises:
        ClusterError: it does not start; the message has the end of its log.
    """

    def __init__(self, folder: Path, cluster: str, *, pools: bool = False) -> None:
        self.folder = folder
        self.name = cluster
        log = folder / "cluster.log"
        command = [sys.executable, "-m", "rehearsal.cluster", "--folder", str(folder), "--cluster", cluster]
        command += ["--pools"] if pools else []
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                tied(command, signal.SIGTERM),
                cwd=CHECKOUT,
                env={**os.environ, "LLMSTACK_REHEARSAL": str(folder)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._state = self._wait(log)

    @property
    def endpoint(self) -> str:
        """`https://127.0.0.1:PORT`."""
        return self._state.endpoint

    @property
    def ca_certificate(self) -> str:
        """Whom the cluster's certificate is from: PEM in base64, as GKE gives it."""
        return self._state.ca_certificate

    @property
    def kubeconfig(self) -> Path:
        """Of an administrator."""
        return Path(self._state.kubeconfig)

    def stop(self) -> None:
        """Stop the control plane and every pod."""
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _wait(self, log: Path) -> ClusterState:
        deadline = time.monotonic() + START_SECONDS
        while (state := running(self.folder, self.name)) is None:
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise ClusterError(f"the rehearsed cluster does not start: {' | '.join(tail(log, 3))}")
            time.sleep(_POLL_SECONDS)
        return state
