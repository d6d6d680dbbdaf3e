"""The startup command, against an imitation of TorchServe's management API."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from conftest import environment, free_ports
from weights_handler import ready, settings

COMMAND = [sys.executable, *settings.contract()["startup_command"][1:]]


class Management(http.server.BaseHTTPRequestHandler):
    """Answers what the test has put into `pages`."""

    pages: dict[str, object]

    def do_GET(self) -> None:
        self.send_response(200 if self.path in self.pages else 404)
        self.end_headers()
        self.wfile.write(json.dumps(self.pages.get(self.path, {"code": 404})).encode())

    def log_message(self, *arguments: object) -> None:
        """Nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    Management.pages = {"/models": {"models": [{"modelName": "gpt2", "modelUrl": "model.mar"}]}}
    with http.server.HTTPServer(("127.0.0.1", 0), Management) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def workers(*statuses: str, least: int = 2) -> None:
    found = {"minWorkers": least, "workers": [{"status": status} for status in statuses]}
    Management.pages["/models/gpt2"] = [found]


@pytest.mark.parametrize(
    ("statuses", "words"),
    [
        ((), "0 of 2 workers"),
        (("UNLOADING", "UNLOADING"), "0 of 2 workers"),
        (("READY", "UNLOADING"), "1 of 2 workers have loaded gpt2"),
    ],
)
def test_it_is_not_ready_before_every_worker_has_loaded_the_model(port, statuses, words):
    workers(*statuses)
    assert words in str(ready.missing(port))


def test_it_is_ready_once_every_worker_has(port, tmp_path):
    workers("READY", "READY")
    assert ready.missing(port) is None
    # A machine's proxy is not asked for what is on the loopback interface.
    given = environment(tmp_path, LOOPBACK_PORT=port, http_proxy="http://127.0.0.1:9")
    assert subprocess.run(COMMAND, env=given, cwd="/", capture_output=True).returncode == 0


def test_a_server_without_a_model_is_not_ready(port):
    Management.pages["/models"] = {"models": []}
    assert ready.missing(port) == "no model is registered"


@pytest.mark.parametrize("pages", [None, {"/models": {"models": [{"modelName": "gpt2"}]}}, {}])
def test_whatever_else_answers_or_nothing_is_one_line_and_a_status(port, tmp_path, pages):
    Management.pages = pages or {}
    asked = free_ports(1) if pages is None else port
    given = environment(tmp_path, LOOPBACK_PORT=asked)
    ended = subprocess.run(COMMAND, env=given, cwd="/", capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stderr.startswith("torchserve: not ready: ")
    assert ended.stderr.count("\n") == 1
