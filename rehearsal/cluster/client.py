"""Starts the cluster of a rehearsal, for as long as whoever starts it lives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rehearsal.cluster.__main__ import STATE_FILE
from rehearsal.cluster.programs import CHECKOUT, ClusterError, tied
from rehearsal.runner.types import tail

START_SECONDS = 180.0
STOP_SECONDS = 60.0
_POLL_SECONDS = 0.2


class RehearsedCluster:
    """A running cluster.

    Args:
        folder: the world's folder.
        cluster: `projects/P/locations/L/clusters/C`.

    Raises:
        ClusterError: it does not start; the message has the end of its log.
    """

    def __init__(self, folder: Path, cluster: str) -> None:
        self.folder = folder
        self.name = cluster
        log = folder / "cluster.log"
        command = [sys.executable, "-m", "rehearsal.cluster", "--folder", str(folder), "--cluster", cluster]
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
        return str(self._state["endpoint"])

    @property
    def ca_certificate(self) -> str:
        """Whom the cluster's certificate is from: PEM in base64, as GKE gives it."""
        return str(self._state["caCertificate"])

    @property
    def kubeconfig(self) -> Path:
        """Of an administrator."""
        return Path(self._state["kubeconfig"])

    def stop(self) -> None:
        """Stop the control plane and every pod."""
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _wait(self, log: Path) -> dict[str, Any]:
        deadline = time.monotonic() + START_SECONDS
        state = self.folder / STATE_FILE
        while not state.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise ClusterError(f"the rehearsed cluster does not start: {' | '.join(tail(log, 3))}")
            time.sleep(_POLL_SECONDS)
        found: dict[str, Any] = json.loads(state.read_text(encoding="utf-8"))
        return found
