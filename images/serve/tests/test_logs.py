"""What a server writes down: one JSON object a line, and no text of any prompt or answer."""

from __future__ import annotations

import json
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import write_manifest
from test_process import server
from transformers import AutoTokenizer

WORD = "zebra"
"""Part of everything that is sent."""
TEMPLATE = "{{ raise_exception('no form for ' ~ messages[0]['content']) }}"
PROGRAM = """
import logging, sys
from scripted import ScriptedEngine
from serve import logs, server

def configure(usual=logs.configure):
    usual()
    logging.getLogger().setLevel(logging.DEBUG)
    logging.getLogger("uvicorn.access").setLevel(logging.DEBUG)

def make(name):
    engine = ScriptedEngine()
    engine.go.set()
    return engine

logs.configure = configure
if sys.argv[1] == "scripted":
    server.make_engine = make
server.main()
"""


def refused() -> list[tuple[str, dict[str, Any]]]:
    """Path and arguments of requests that are wrong, each in a way of its own."""
    json_ = {"Content-Type": "application/json"}
    chat = {"model": "owner/tiny", "messages": [{"role": "user", "content": WORD}]}
    return [
        ("/generate", {"content": f'{{"prompt": "{WORD}'.encode(), "headers": json_}),
        ("/generate", {"content": b'{"prompt": "' + WORD.encode() + b'\xff"}', "headers": json_}),
        ("/generate", {"content": WORD.encode(), "headers": {"Content-Type": f"text/{WORD}"}}),
        ("/generate", {"json": {"prompt": [WORD], WORD: WORD, "stop": WORD * 99}}),
        ("/generate", {"json": {"prompt": WORD, "max_new_tokens": 10**9}}),
        ("/generate", {"json": {"prompt": f"{WORD} " * 90}}),
        ("/predict", {"json": {"instances": [WORD, {"text": WORD}]}}),
        ("/predict", {"content": b"a" * 10**6 + WORD.encode(), "headers": {"Content-Type": "text/plain"}}),
        ("/v1/completions", {"json": {"model": WORD, "prompt": WORD}}),
        ("/v1/chat/completions", {"json": chat | {"messages": [*chat["messages"]] * 2}}),
        ("/v1/chat/completions", {"json": chat | {"temperature": WORD}}),
        (f"/{WORD}?prompt={WORD}", {"content": WORD.encode()}),
        ("/generate", {"json": {}, "headers": {"X-Request-Id": f'{WORD} "forged'}}),
        ("/generate", {"json": {}, "headers": {"X-Request-Id": WORD * 30}}),
    ]


def hang_up(client: httpx.Client, request: dict[str, object]) -> None:
    """Sends a request and leaves after the beginning of its answer."""
    body = json.dumps(request)
    fields = f"Host: a\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    with socket.create_connection(("127.0.0.1", client.base_url.port or 0)) as connection:
        connection.sendall(f"POST /generate HTTP/1.1\r\n{fields}\r\n\r\n{body}".encode())
        assert connection.recv(20)


def lines_of(log: Path) -> list[dict[str, Any]]:
    """The log's lines; each is a JSON object."""
    return [json.loads(line) for line in log.read_text().splitlines()]


@pytest.mark.parametrize("engine", ["scripted", "transformers"])
def test_no_log_of_any_level_holds_text_of_a_prompt_or_an_answer(
    environment: dict[str, str], gpt2: Path, tmp_path: Path, engine: str
) -> None:
    folder, log = tmp_path / "model", tmp_path / "log"
    shutil.copytree(gpt2, folder)
    tokenizer = AutoTokenizer.from_pretrained(gpt2)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    write_manifest(folder)
    given = environment | {"MODEL_PATH": str(folder), "PYTHONPATH": str(Path(__file__).parent)}
    with server(given, log, [sys.executable, "-c", PROGRAM, engine]) as (process, client):
        statuses = [client.post(path, **arguments).status_code for path, arguments in refused()]
        asked = {"prompt": f"{WORD} joke", "max_new_tokens": 20}
        answer = client.post("/generate", json=asked).json()["generated_text"]
        client.post("/generate", json=asked | {"stream": True})
        hang_up(client, asked | {"stream": True, "max_new_tokens": 40})
        late = client.post("/generate", json=asked | {"timeout_seconds": 1e-9})
        if engine == "scripted":
            failed = client.post("/generate", json={"prompt": f"fail {WORD}"})
            dead = client.post("/generate", json={"prompt": f"die {WORD}"})
            assert (failed.status_code, dead.status_code) == (500, 503)
        process.terminate()
        assert process.wait(timeout=30) == 0
    assert set(statuses) <= {400, 404, 413, 415, 422}
    assert late.status_code == 504
    text = log.read_text()
    assert "DEBUG" in text, "the lowest level is on"
    assert WORD not in text
    assert len(answer) >= 20
    assert answer not in text
    logged = [line["status"] for line in lines_of(log) if line["message"] == "request"]
    assert {200, 422, 504} <= set(logged)
