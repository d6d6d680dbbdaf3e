"""The serving benchmark's clients, against a small server, and the requests that they send."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bench.serving import cold_start, continuous
from bench.serving.contestants import CONTESTANTS, text_form
from bench.serving.load import Arrival, closed_loop, first_token, scheduled
from bench.serving.servers import Server, StartError, free_ports
from bench.serving.static_batch import answer_all
from bench.serving.throughput import FULL, PROMPT_TOKENS, Team
from bench.serving.words import SPECIAL, VOCABULARY, common_prefix, prompts, words


class Echo(BaseHTTPRequestHandler):
    """Answers with the prompt in capitals; /generate as a stream; `fail` fails."""

    protocol_version = "HTTP/1.1"
    most = under_way = 0
    lock = threading.Lock()
    asked: Counter[str]

    def do_POST(self) -> None:
        kind = type(self)
        with kind.lock:
            kind.under_way += 1
            kind.most = max(kind.most, kind.under_way)
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        kind.asked[body] += 1
        time.sleep(0.02)
        with kind.lock:
            kind.under_way -= 1
        if self.path == "/generate":
            wanted = json.loads(body)
            events = [{"token": wanted["prompt"]}, {"done": True, "generated_text": wanted["prompt"].upper()}]
            if wanted["prompt"] == "cut":
                events.pop()
            self._send(200, "".join(f"data: {json.dumps(event)}\n\n" for event in events))
        else:
            self._send(503 if body == "fail" else 200, body.upper())

    def _send(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Nothing: the test's output is for what failed."""


@pytest.fixture
def echo() -> Iterator[tuple[str, type[Echo]]]:
    handler = type("OwnEcho", (Echo,), {"asked": Counter(), "most": 0, "under_way": 0})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", handler
    server.shutdown()
    server.server_close()


def test_a_closed_loop_sends_all_requests_and_never_more_at_once_than_clients(
    echo: tuple[str, type[Echo]],
) -> None:
    address, handler = echo
    found = closed_loop(address, text_form("/predict"), ["a", "b"], clients=3, least=8, seconds=0)
    assert len(found) == 8
    assert handler.asked == {"a": 4, "b": 4}
    assert handler.most <= 3
    assert {outcome.text for outcome in found} == {"A", "B"}
    assert all(outcome.text == "AB"[outcome.prompt] and outcome.ended > outcome.started for outcome in found)


def test_a_closed_loop_goes_on_until_its_seconds_are_over(echo: tuple[str, type[Echo]]) -> None:
    found = closed_loop(echo[0], text_form("/predict"), ["a"], clients=1, least=1, seconds=0.1)
    assert len(found) > 1
    assert max(outcome.started for outcome in found) < 0.1


def test_a_refusal_and_a_dead_server_are_outcomes_with_a_reason(echo: tuple[str, type[Echo]]) -> None:
    [refused] = closed_loop(echo[0], text_form("/predict"), ["fail"], clients=1, least=1, seconds=0)
    assert (refused.text, refused.error) == (None, "status 503: FAIL")
    nobody = f"http://127.0.0.1:{free_ports(1)}"
    [lost] = closed_loop(nobody, text_form("/predict"), ["a"], clients=1, least=1, seconds=0)
    assert lost.text is None
    assert "refused" in str(lost.error)


def test_scheduled_requests_come_in_their_order_with_the_time_of_the_first_token(
    echo: tuple[str, type[Echo]],
) -> None:
    found = scheduled(echo[0], "/generate", [Arrival("later", 3, 0.05), Arrival("now", 2, 0.0)])
    assert [outcome.text for outcome in found] == ["LATER", "NOW"]
    assert [outcome.started for outcome in found] == [0.05, 0.0]
    assert all(
        outcome.started < outcome.first <= outcome.ended for outcome in found if outcome.first is not None
    )
    assert json.dumps({"prompt": "now", "max_new_tokens": 2, "stream": True}) in echo[1].asked
    assert first_token(echo[0], "/generate", "at once").first is not None


def test_a_stream_without_its_last_event_is_no_answer(echo: tuple[str, type[Echo]]) -> None:
    [outcome] = scheduled(echo[0], "/generate", [Arrival("cut", 1, 0.0)])
    assert (outcome.text, outcome.error) == (None, "the stream broke off")


def test_the_vocabulary_has_one_word_for_each_token() -> None:
    known = words()
    assert len(set(known)) == len(known) == VOCABULARY - len(SPECIAL)


def test_prompts_are_the_same_in_every_run_and_of_the_lengths_asked_for() -> None:
    first = prompts([7, 63], seed=3)
    assert first == prompts([7, 63], seed=3)
    assert first != prompts([7, 63], seed=4)
    assert [len(prompt.split()) for prompt in first] == [7, 63]
    assert min(PROMPT_TOKENS) == 8
    assert max(PROMPT_TOKENS) == 64


def test_the_common_prefix_ends_where_two_answers_part() -> None:
    assert common_prefix("a b c", "a b d") == 2
    assert common_prefix("a b", "a b c") == 2
    assert common_prefix("x", "a") == 0


def test_arrivals_are_drawn_once_and_for_all_and_come_one_by_one() -> None:
    found = continuous.arrivals(200, per_second=20.0)
    assert found == continuous.arrivals(200, per_second=20.0)
    times = [arrival.at for arrival in found]
    assert times == sorted(times)
    assert 150 / 20 < times[-1] < 250 / 20
    lengths = {arrival.new_tokens for arrival in found}
    assert min(lengths) >= continuous.FEWEST_TOKENS
    assert max(lengths) <= continuous.MOST_TOKENS
    assert len(lengths) > 50


def test_a_static_batch_has_those_who_came_and_all_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def answer(_model: object, _tokenizer: object, batch: list[dict[str, object]]) -> list[str]:
        sizes.append(len(batch))
        return [str(request["prompt"]) for request in batch]

    monkeypatch.setattr("bench.serving.static_batch.answer_batch", answer)
    requests = [{"prompt": name, "new_tokens": 1, "at": 0.0} for name in "abcd"]
    found = answer_all(None, None, requests, 3)
    assert sizes == [3, 1]
    assert [each["text"] for each in found] == list("abcd")
    assert found[0]["ended"] == found[2]["ended"] <= found[3]["ended"]


def test_a_server_that_ends_at_once_is_left_out_with_what_it_said(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('no model'); raise SystemExit(13)"]
    server = Server(command, dict(os.environ), free_ports(1), "/", tmp_path / "log", tmp_path)
    with pytest.raises(StartError, match="status 13: no model"), server:
        pass


def test_a_server_is_stopped_with_the_processes_that_it_started(tmp_path: Path) -> None:
    port = free_ports(1)
    program = (
        "import subprocess, sys\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        "print(child.pid, flush=True)\n"
        f"sys.argv = ['http.server', '{port}', '--bind', '127.0.0.1']\n"
        "import runpy; runpy.run_module('http.server', run_name='__main__')\n"
    )
    command = [sys.executable, "-c", program]
    with Server(command, dict(os.environ), port, "/", tmp_path / "log", tmp_path) as server:
        child = int(server.log.read_text().split()[0])
        assert Path(f"/proc/{child}").exists()
        assert server.opened_seconds is not None
    deadline = time.monotonic() + 30
    while _runs(child):
        assert time.monotonic() < deadline, "the child still runs"
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    """Whether a process has not been killed yet; it may wait for init to take note of it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_one_client_and_many_may_get_different_settings_and_eight_are_many() -> None:
    team = Team(CONTESTANTS[1], {}, {1: 0, 8: 2})
    team.servers = {0: object(), 2: object()}  # type: ignore[dict-item]
    chosen = [team.server(clients) for clients in FULL.clients]
    assert chosen == [team.servers[0], team.servers[2], team.servers[2], team.servers[2]]


def test_each_contestant_has_settings_for_its_two_cores_only() -> None:
    for contestant in CONTESTANTS:
        for settings in contestant.candidates:
            computing = int(settings["THREADS"]) * int(settings.get("WORKERS", "1"))
            assert computing <= 2, (contestant.name, settings)


def test_bytes_from_a_disk_are_counted_for_a_process(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * 100_000)
    os.sync()
    cold_start.put_out([file, tmp_path])
    process = subprocess.Popen(["sleep", "60"])
    try:
        counted = cold_start.disk_read(process.pid)
        assert counted is not None
        assert counted >= 0
    finally:
        process.kill()
        process.wait()
    assert file.read_bytes() == b"x" * 100_000
    assert cold_start.disk_read(2**22 + 1) is None
