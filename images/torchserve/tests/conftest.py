"""Tiny models, staged as archives by the weights image's own code, and TorchServe on Java."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}

import httpx
import psutil
import pytest
import tiny_models
from weights_handler import ready

SRC = Path(__file__).parents[1] / "src"
READY_SECONDS = 200


@pytest.fixture(scope="session", params=["gpt2", "t5", "dolly"])
def staged(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each kind of model in turn, staged."""
    return stage(str(request.param), tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A staged decoder-only model."""
    return stage("gpt2", tmp_path_factory.mktemp("models"))


@pytest.fixture
def own_gpt2(gpt2: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(gpt2, tmp_path / "own"))


def stage(kind: str, folder: Path) -> Path:
    """Makes a model and stages it in the format mar; its name is the kind's."""
    source, target = tiny_models.save(kind, folder / kind), folder / "staged"
    arguments = ["--source", source, "--target", target, "--format", "mar", "--dtype", "float32"]
    subprocess.run([sys.executable, "-m", "weights", "convert", *arguments], check=True, capture_output=True)
    return target


def environment(folder: Path, **more: object) -> dict[str, str]:
    """The environment of a start or of a worker."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    own = {"MODEL_PATH": str(folder), "PATH": path, "PYTHONPATH": str(SRC), "HOST": "127.0.0.1"}
    return os.environ | own | {name: str(value) for name, value in more.items()}


@dataclass
class Running:
    """TorchServe, ready."""

    process: subprocess.Popen[bytes]
    log: Path
    base: str
    loopback: int
    at_first_ping: str | None = None
    """What the startup command said was missing when `/ping` first answered 200."""

    @property
    def management(self) -> str:
        """The management API."""
        return f"http://127.0.0.1:{self.loopback}"

    def post(self, body: object, name: str = "gpt2") -> httpx.Response:
        """Asks for predictions."""
        return httpx.post(f"{self.base}/predictions/{name}", json=body, timeout=280)

    def listening(self) -> set[str]:
        """The addresses that it and its workers listen on."""
        tree = [psutil.Process(self.process.pid)]
        tree += tree[0].children(recursive=True)
        connections = [each for process in tree for each in process.net_connections("inet")]
        return {each.laddr.ip for each in connections if each.status == psutil.CONN_LISTEN}


@contextlib.contextmanager
def torchserve(folder: Path, scratch: Path, **more: object) -> Iterator[Running]:
    """Starts TorchServe as the image does, and stops it."""
    port = free_ports(5)
    variables = environment(folder, PORT=port, LOOPBACK_PORT=port + 1, TMPDIR=scratch, **more)
    log = scratch / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "weights_handler"], env=variables, cwd=scratch, stdout=file, stderr=file
        )
    running = Running(process, log, f"http://127.0.0.1:{port}", port + 1)
    try:
        wait_ready(running)
        yield running
    finally:
        process.terminate()
        process.wait(60)


def wait_ready(running: Running) -> None:
    """Waits for health and for the model, as a platform does."""
    deadline, healthy = time.monotonic() + READY_SECONDS, False
    while time.monotonic() < deadline:
        assert running.process.poll() is None, running.log.read_text()
        with contextlib.suppress(httpx.TransportError):
            if healthy and ready.missing(running.loopback) is None:
                return
            if not healthy and httpx.get(f"{running.base}/ping").status_code == httpx.codes.OK:
                healthy, running.at_first_ping = True, ready.missing(running.loopback)
        time.sleep(0.2)
    raise AssertionError(running.log.read_text())


def free_ports(count: int) -> int:
    """The first of some free neighbours."""
    for first in range(21_000 + os.getpid() % 5000, 32_000, count):
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for port in range(first, first + count):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first
    raise AssertionError("no free ports")
