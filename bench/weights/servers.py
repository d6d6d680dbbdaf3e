"""The Hub and the store that a run talks to, as processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.request import urlopen

ROOT = Path(__file__).parents[2]
STORE = ROOT / ".engine/fake-gcs-server"
BUCKET = "bench"
START_SECONDS = 60.0


class Servers:
    """A context manager: inside it both answer.

    Args:
        repositories: The Hub's folder.
        store: Empty folder for objects and unfinished uploads.
    """

    def __init__(self, repositories: Path, store: Path) -> None:
        self._repositories = repositories
        self.folder = store
        self._processes: list[subprocess.Popen[str]] = []
        self.hub = self.files = self.storage = ""

    def __enter__(self) -> Self:
        try:
            self._start_hub()
            self._start_store()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def warm(self, repository: str, revision: str) -> None:
        """Have the Hub digest the files of a revision, which it does once, when it is first asked."""
        _get(f"{self.hub}/api/models/{repository}/tree/{revision}?recursive=true")

    def sent_by_hub(self) -> int:
        """Bytes of large files that the Hub has sent so far."""
        return int(_get(f"{self.files}/_counters")["sent"])

    def store_counts(self) -> dict[str, dict[str, float]]:
        """What the store has answered so far, by kind: requests, bytes read and written, seconds."""
        return _get(f"{self.storage}/_counters") or {}

    def _start_hub(self) -> None:
        command = [sys.executable, "-m", "bench.weights.hub", "--root", str(self._repositories)]
        process = self._start(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SystemExit("the Hub did not start; its reason is above")
        places = json.loads(line)
        self.hub, self.files = places["hub"], places["files"]

    def _start_store(self) -> None:
        for name in ("objects", "unfinished"):
            (self.folder / name).mkdir(parents=True)
        port = self.folder / "port"
        process = self._start(
            [
                str(STORE),
                "--root",
                str(self.folder / "objects"),
                "--spool",
                str(self.folder / "unfinished"),
                "--bucket",
                BUCKET,
                "--port-file",
                str(port),
                "--exit-with-stdin",
            ]
        )
        until = time.monotonic() + START_SECONDS
        while not port.exists():
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit("the store did not start; its reason is above")
            time.sleep(0.05)
        self.storage = f"http://127.0.0.1:{port.read_text().strip()}"

    def _start(self, command: list[str], stdout: int | None = None) -> subprocess.Popen[str]:
        # The emulator holds each object in memory while it completes it; the collector must follow closely.
        environment = {**os.environ, "GOGC": "25"}
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=stdout, text=True
        )
        self._processes.append(process)
        return process

    def _stop(self) -> None:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in self._processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _get(url: str) -> Any:
    with urlopen(url) as answer:
        return json.load(answer)
