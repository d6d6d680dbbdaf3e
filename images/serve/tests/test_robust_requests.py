"""Whatever comes over the wire, the server answers with a refusal, stays whole and does not grow."""

from __future__ import annotations

import asyncio
import random
import re
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from malformed import Wrong, draw, exchange
from test_process import server, wait_until

REQUESTS = 10_000
AT_ONCE = 16
MIB = 2**20
BY_DESIGN = (503, 504)


@pytest.fixture
def quick(environment: dict[str, str]) -> dict[str, str]:
    """The environment of a server with short answers."""
    return environment | {"MAX_NEW_TOKENS": "8", "MAX_QUEUE": "16"}


def resident(process_id: int) -> int:
    """Bytes of memory that a process holds."""
    status = Path(f"/proc/{process_id}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


def metric(client: httpx.Client, name: str) -> float:
    """A metric without labels."""
    lines = client.get("/metrics").text.splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


def idle(client: httpx.Client) -> bool:
    """Whether no request has a place, waits or runs."""
    names = ("llm_requests_held", "llm_queue_depth", "llm_batch_size")
    return all(metric(client, name) == 0 for name in names)


@pytest.mark.timeout(600)
def test_ten_thousand_malformed_requests_are_refused_without_an_error_of_the_server_s(
    quick: dict[str, str], tmp_path: Path, run
) -> None:
    chooser = random.Random(20)
    log = tmp_path / "log"
    asked = {"prompt": "Tell me a joke"}
    with server(quick, log) as (process, client):
        port = client.base_url.port
        assert port is not None

        async def send(count: int) -> list[int | None]:
            turn = asyncio.Semaphore(AT_ONCE)

            async def one(request: Wrong) -> int | None:
                async with turn:
                    return await exchange(port, request)

            return await asyncio.gather(*(one(draw(chooser)) for _ in range(count)))

        before = client.post("/generate", json=asked).json()
        statuses = run(send(REQUESTS // 10))
        memory = resident(process.pid)
        statuses += run(send(REQUESTS - len(statuses)))
        grown = resident(process.pid) - memory
        after = client.post("/generate", json=asked).json()
        wait_until(process, log, lambda: idle(client))
    wrong = [status for status in statuses if status and status >= 500 and status not in BY_DESIGN]
    assert wrong == []
    assert after == before
    assert grown < 32 * MIB, f"{grown / MIB:.0f} MiB more after nine times as many requests"
    text = log.read_text()
    assert "Traceback" not in text
    assert '"severity": "ERROR"' not in text
    assert {200, 400, 404, 405, 413, 415, 422} <= set(statuses), "the requests reach all of the checks"


def test_clients_that_hang_up_at_any_moment_leave_no_place_held_and_no_work(
    environment: dict[str, str], tmp_path: Path
) -> None:
    chooser = random.Random(4)
    log = tmp_path / "log"
    body = '{"prompt": "Tell me a joke", "model": "owner/tiny", "max_tokens": 4000, "stream": true}'

    def hang_up(port: int, seconds: float, path: str, part: float) -> None:
        text = body.replace("max_tokens", "max_new_tokens") if path == "/generate" else body
        text = text.replace('"model": "owner/tiny", ', "") if path == "/generate" else text
        head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        data = f"{head}Content-Length: {len(text)}\r\n\r\n{text}".encode()
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(data[: int(len(data) * part)])
            connection.settimeout(seconds)
            try:
                connection.recv(200)
            except TimeoutError:
                return

    with server(environment, log) as (process, client), ThreadPoolExecutor(8) as pool:
        port = client.base_url.port
        paths = ("/generate", "/v1/completions")
        work = [
            pool.submit(
                hang_up,
                port,
                chooser.random() / 4 + 0.001,
                chooser.choice(paths),
                chooser.choice([1, 1, 0.7]),
            )
            for _ in range(100)
        ]
        for each in work:
            each.result()
        wait_until(process, log, lambda: idle(client))
        steps = metric(client, "llm_engine_steps_total")
        assert client.get("/health").status_code == 200
        assert metric(client, "llm_engine_steps_total") == steps, "nothing runs for nobody"
        answer = client.post("/generate", json={"prompt": "Tell me", "max_new_tokens": 3})
    assert answer.status_code == 200
    assert "Traceback" not in log.read_text()


def test_hundreds_of_connections_that_never_finish_a_request_do_not_keep_others_waiting(
    quick: dict[str, str], tmp_path: Path
) -> None:
    line = b"POST /generate HTTP/1.1\r\nHost: a\r\n"
    body = b"Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
    unfinished = (b"G", line + b"X-Slow: ", line + body)
    with server(quick, tmp_path / "log") as (_, client), ExitStack() as stack:
        port = client.base_url.port
        for number in range(300):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            connection.sendall(unfinished[number % len(unfinished)])
        for _ in range(5):
            assert client.post("/generate", json={"prompt": "Tell me"}).status_code == 200
        assert client.get("/ready").status_code == 200
        assert metric(client, "llm_requests_held") == 0, "a request has a place once it is complete"


@pytest.fixture
def scripted(environment: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """Environment and command of a server whose engine hangs when the prompt says so."""
    program = (
        "from scripted import ScriptedEngine\n"
        "from serve import server\n"
        "def make(name):\n"
        "    engine = ScriptedEngine()\n"
        "    engine.go.set()\n"
        "    return engine\n"
        "server.make_engine = make\n"
        "server.main()\n"
    )
    given = environment | {"PYTHONPATH": str(Path(__file__).parent)}
    return given, [sys.executable, "-c", program]


def test_an_engine_that_hangs_makes_the_process_unhealthy_and_sigterm_still_ends_it_in_time(
    scripted: tuple[dict[str, str], list[str]], tmp_path: Path
) -> None:
    given, command = scripted
    log = tmp_path / "log"
    limits = {"STALL_SECONDS": "1", "GRACE_SECONDS": "10"}
    with server(given | limits, log, command) as (process, client):
        answer = client.post("/generate", json={"prompt": "hang"})
        health = client.get("/health")
        process.terminate()
        assert process.wait(timeout=10) == 0
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_dead")
    assert health.status_code == 503
    assert "has not completed a step" in health.json()["detail"]
    assert "Traceback" not in log.read_text()


def test_an_engine_that_hangs_before_it_is_found_dead_does_not_keep_the_process_beyond_its_grace(
    scripted: tuple[dict[str, str], list[str]], tmp_path: Path
) -> None:
    given, command = scripted
    with server(given | {"GRACE_SECONDS": "5"}, tmp_path / "log", command) as (process, client):
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(client.post, "/generate", json={"prompt": "hang"})
            wait_until(process, tmp_path / "log", lambda: metric(client, "llm_requests_held") == 1)
            process.terminate()
            refused = waiting.result()
        assert process.wait(timeout=10) == 0
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "shutting_down")
