"""The server with ENGINE=vllm as a process: answers, JSON lines, and an end with all that it started."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

SERVER = Path(__file__).with_name("eager_server.py")
READY_SECONDS = 600


@dataclass(frozen=True)
class Server:
    """A server that runs."""

    process: subprocess.Popen[bytes]
    client: httpx.Client
    log: Path


@pytest.fixture
def server(gpt2: Path, tmp_path: Path) -> Iterator[Server]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {"ENGINE": "vllm", "DTYPE": "float32", "MODEL_PATH": str(gpt2), "MODEL_NAME": "acme/tiny"}
    own |= {"MAX_INPUT_TOKENS": "100", "MAX_NEW_TOKENS": "100", "MAX_QUEUE": "8", "THREADS": "1"}
    own |= {"HOST": "127.0.0.1", "PORT": str(port)}
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, SERVER], env=os.environ | own, stdout=output)
    try:
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)
        wait_ready(process, client, log)
        yield Server(process, client, log)
    finally:
        # Killed, it could not end what it started.
        started = [] if process.poll() is not None else psutil.Process(process.pid).children(recursive=True)
        for each in (process, *started):
            each.kill()
        process.wait()


def wait_ready(process: subprocess.Popen[bytes], client: httpx.Client, log: Path) -> None:
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        try:
            if client.get("/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    pytest.fail(f"not ready after {READY_SECONDS} s:\n{log.read_text()}")


def test_it_answers_whole_and_streamed_and_ends_with_status_0_and_no_process_left(server: Server) -> None:
    prompt = {"prompt": "Hello, cloud", "max_new_tokens": 20}
    whole = server.client.post("/generate", json=prompt).json()
    assert whole["usage"]["generated_tokens"] == 20
    streamed = server.client.post("/generate", json=prompt | {"stream": True}).text
    events = [json.loads(line.removeprefix("data: ")) for line in streamed.splitlines() if line]
    assert "".join(event.get("token", "") for event in events) == whole["generated_text"]
    chosen = {"model": "acme/tiny", "prompt": "Hello", "temperature": 1, "seed": 3, "max_tokens": 12}
    first, second = (server.client.post("/v1/completions", json=chosen).json() for _ in range(2))
    assert first["choices"][0]["text"] == second["choices"][0]["text"]
    children = psutil.Process(server.process.pid).children(recursive=True)
    assert children
    server.process.terminate()
    assert server.process.wait(30) == 0
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line]
    assert any(line["logger"].startswith("vllm") for line in lines)
    assert not [line for line in lines if "Hello" in str(line)]
