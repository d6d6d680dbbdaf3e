"""A contestant's process: started on two cores, awaited, and stopped with all that it started."""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

START_SECONDS = 180.0
STOP_SECONDS = 20.0
POLL_SECONDS = 0.02
CORES = set(sorted(os.sched_getaffinity(0))[:2])


class StartError(Exception):
    """A contestant did not become ready; the text has the last of what it said."""


class Server:
    """A context manager: inside it the contestant answers.

    Args:
        command: Program and arguments.
        environment: All its variables.
        port: Where it listens.
        ready: The path that answers 200 once it is ready.
        log: File that receives its output.
        folder: Where it is started.

    Raises:
        StartError: On entering.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        port: int,
        ready: str,
        log: Path,
        folder: Path,
    ) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self.log = log
        self.opened_seconds: float | None = None
        """From the process's start until it accepted a connection."""
        self._command, self._environment, self._folder = list(command), dict(environment), folder
        self._ready = ready
        self._process: subprocess.Popen[bytes] | None = None
        self.started = 0.0

    def __enter__(self) -> Self:
        with self.log.open("wb") as output:
            self.started = time.monotonic()
            with on_cores(CORES):
                self._process = subprocess.Popen(
                    self._command,
                    env=self._environment,
                    cwd=self._folder,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        try:
            self._wait()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def _wait(self) -> None:
        assert self._process is not None
        while time.monotonic() - self.started < START_SECONDS:
            if self._process.poll() is not None:
                raise StartError(f"it ended with status {self._process.returncode}: {self._said()}")
            if self._answers():
                return
            time.sleep(POLL_SECONDS)
        raise StartError(f"it was not ready after {START_SECONDS:g} s: {self._said()}")

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(urlsplit(self.address).netloc, timeout=10)
        try:
            connection.connect()
            if self.opened_seconds is None:
                self.opened_seconds = time.monotonic() - self.started
            connection.request("GET", self._ready)
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _said(self) -> str:
        return self.log.read_text(errors="replace")[-800:].strip()

    def _stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        # Its own session: what it started and left behind ends with it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@contextlib.contextmanager
def on_cores(cores: set[int]) -> Iterator[None]:
    """Processes started inside run on these cores alone."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_ports(count: int) -> int:
    """The first of some free neighbours."""
    for first in random.sample(range(20_000, 30_000), 1000):
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for port in range(first, first + count):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first
    raise SystemExit("there are no free ports between 20000 and 30000")
