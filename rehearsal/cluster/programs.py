"""The control plane's programs: where they are, and how they are started and stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rehearsal.cluster import with_parent
from rehearsal.runner.types import tail

CHECKOUT = Path(__file__).resolve().parents[2]
FOLDER = CHECKOUT / ".engine" / "kube" / "bin"
NAMES = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")


class ClusterError(Exception):
    """The rehearsed cluster cannot be started; one line for a person."""


def missing() -> list[str]:
    """The programs that are not installed."""
    return [name for name in NAMES if not (FOLDER / name).exists()]


def tied(command: Sequence[str], number: signal.Signals) -> list[str]:
    """A command that receives the signal when this process ends, even by SIGKILL.

    Linux ties it to the thread that starts it, so it has to be the main thread.
    """
    return [
        sys.executable,
        "-I",
        "-S",
        with_parent.__file__,
        str(os.getpid()),
        str(number.value),
        *command,
    ]


class Program:
    """One running program of the control plane, or beside it.

    Args:
        name: of its file in `FOLDER`.
        flags: its command line.
        folder: gets its log, `NAME.log`.
    """

    def __init__(self, name: str, flags: Sequence[str], folder: Path) -> None:
        self.name = name
        self._log = folder / f"{name}.log"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                tied([str(FOLDER / name), *flags], signal.SIGKILL),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def require(self) -> None:
        """Raises `ClusterError` with the end of its log when it has ended."""
        if self._process.poll() is not None:
            said = " | ".join(tail(self._log, 3))
            raise ClusterError(f"{self.name} ended with status {self._process.returncode}: {said}")

    def stop(self) -> None:
        """End it at once: what it knows is thrown away, and an API server would wait for its watchers."""
        self._process.kill()
        self._process.wait()


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
