"""The server as a process: start, refusal to start, SIGTERM, logs."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from safetensors.torch import load_file, save_file
from serve.engines.base import EngineSettings, ModelError
from serve.engines.transformers_engine import TransformersEngine
from serve.errors import Exit

COMMAND = [sys.executable, "-m", "serve"]


@contextmanager
def started(
    environment: dict[str, str], log: Path, command: Sequence[str] = COMMAND
) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    """A server process that listens, and a client for it. It is killed at the end if it still runs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    variables = {name: value.replace("@PORT@", str(port)) for name, value in environment.items()}
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=variables | {"PORT": str(port)}, stdout=out, stderr=out)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            wait_until(process, log, lambda: status_of(client, "/health") is not None)
            yield process, client
    finally:
        process.kill()
        process.wait()


@contextmanager
def server(
    environment: dict[str, str], log: Path, command: Sequence[str] = COMMAND
) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    """As `started`, once the server answers /ready."""
    with started(environment, log, command) as (process, client):
        wait_until(process, log, lambda: status_of(client, "/ready") == 200)
        yield process, client


def wait_until(process: subprocess.Popen[bytes], log: Path, condition: Callable[[], bool]) -> None:
    """Waits for something of a server that must not end before."""
    while not condition():
        assert process.poll() is None, log.read_text()
        time.sleep(0.05)


def status_of(client: httpx.Client, path: str) -> int | None:
    """The status that a path answers with; None where there is no answer."""
    try:
        return client.get(path).status_code
    except httpx.TransportError:
        return None


def refusal(environment: dict[str, str]) -> tuple[int, dict[str, str]]:
    """Exit status and last log line of a server that does not start."""
    done = subprocess.run(COMMAND, env=environment, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stdout + done.stderr
    errors = [json.loads(line) for line in done.stdout.splitlines()]
    (line,) = [line for line in errors if line["severity"] == "ERROR"]
    return done.returncode, line


def test_sigterm_lets_the_answer_under_way_finish_and_ends_with_0(
    environment: dict[str, str], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with server(environment, log) as (process, client):
        request = {"prompt": "Tell me a zebra joke", "stream": True, "max_new_tokens": 300}
        with client.stream("POST", "/generate", json=request) as response:
            lines = response.iter_lines()
            first = json.loads(next(lines).removeprefix("data: "))
            process.send_signal(signal.SIGTERM)
            rest = [json.loads(line.removeprefix("data: ")) for line in lines if line]
        assert process.wait(timeout=30) == Exit.OK
    assert rest[-1]["done"]
    assert first["token"] + "".join(event["token"] for event in rest[:-1]) == rest[-1]["generated_text"]
    assert rest[-1]["usage"]["generated_tokens"] > 100
    lines_ = [json.loads(line) for line in log.read_text().splitlines()]
    (request_line,) = [line for line in lines_ if line["message"] == "request"]
    assert request_line["status"] == 200
    assert request_line["generated_tokens"] == rest[-1]["usage"]["generated_tokens"]
    assert "zebra" not in log.read_text(), "prompts are not logged"
    assert lines_[-1]["message"] == "stopped"


def test_sigterm_while_the_model_loads_ends_with_0(environment: dict[str, str]) -> None:
    process = subprocess.Popen(COMMAND, env=environment | {"PORT": "0"}, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if "running on" in json.loads(line)["message"]:
            break
    process.send_signal(signal.SIGTERM)
    rest = process.stdout.read()
    assert process.wait(timeout=30) == Exit.OK
    assert "Traceback" not in rest


def test_settings_that_are_missing_or_wrong_are_all_named(environment: dict[str, str]) -> None:
    wrong = {"MODEL_NAME": "", "DTYPE": "int4", "MAX_QUEUE": "none", "THREADS": "0"}
    code, line = refusal(environment | wrong)
    assert code == Exit.SETTINGS
    assert "MODEL_NAME is not set" in line["message"]
    assert "MAX_QUEUE is 'none'" in line["message"]
    assert "THREADS is '0'" in line["message"]
    assert "DTYPE is 'int4'" in line["message"]


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"GRACE_SECONDS": "inf"}, "GRACE_SECONDS is 'inf'"),
        ({"REQUEST_SECONDS": "nan"}, "REQUEST_SECONDS is 'nan'"),
        ({"MODEL_PATH": "", "AIP_STORAGE_URI": "gs://"}, "AIP_STORAGE_URI is 'gs://': neither"),
        (
            {"MODEL_PATH": "", "AIP_STORAGE_URI": "s3://bucket/model"},
            "AIP_STORAGE_URI is 's3://bucket/model'",
        ),
    ],
)
def test_numbers_without_end_and_addresses_of_nothing_are_refused(
    environment: dict[str, str], variables: dict[str, str], words: str
) -> None:
    code, line = refusal(environment | variables)
    assert code == Exit.SETTINGS
    assert words in line["message"]


def test_a_port_that_is_taken_ends_the_process_with_a_line_that_says_so(environment: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, line = refusal(environment | {"PORT": str(taken.getsockname()[1])})
    assert code == Exit.PORT
    assert "address already in use" in line["message"]


def damaged_copy(folder: Path, to: Path, damage: str) -> Path:
    shutil.copytree(folder, to)
    weights = to / "model.safetensors"
    manifest = to / "manifest.json"
    if damage == "no manifest":
        manifest.unlink()
    elif damage == "not JSON":
        manifest.write_text("{")
    elif damage == "missing file":
        weights.unlink()
    elif damage == "short file":
        weights.write_bytes(weights.read_bytes()[:-1])
    elif damage == "newer":
        manifest.write_text(manifest.read_text().replace('"version": 1', '"version": 2'))
    elif damage == "outside":
        manifest.write_text(manifest.read_text().replace("model.safetensors", "../model.safetensors"))
    return to


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("no manifest", "manifest.json does not exist"),
        ("not JSON", "is not a manifest"),
        ("missing file", "model.safetensors is missing"),
        ("short file", "the manifest says"),
        ("newer", "version 2"),
        ("outside", "outside the model's folder"),
    ],
)
def test_an_incomplete_model_is_refused_before_anything_starts(
    environment: dict[str, str], t5: Path, tmp_path: Path, damage: str, words: str
) -> None:
    folder = damaged_copy(t5, tmp_path / "model", damage)
    code, line = refusal(environment | {"MODEL_PATH": str(folder)})
    assert code == Exit.MODEL_FILES
    assert words in line["message"]
    assert str(folder) in line["message"]


def test_a_model_that_does_not_load_ends_the_process(
    environment: dict[str, str], t5: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(t5, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(b"\xff" * weights.stat().st_size)
    code, line = refusal(environment | {"MODEL_PATH": str(folder), "PORT": "0"})
    assert code == Exit.MODEL_LOAD
    assert "header" in line["message"]
    assert "\n" not in line["message"]


def test_weights_that_are_not_in_the_files_are_not_made_up(t5: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(t5, folder)
    tensors = load_file(folder / "model.safetensors")
    tensors.pop("encoder.block.0.layer.0.SelfAttention.q.weight")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"1 weights .* not in the files.*SelfAttention\.q\.weight"):
        TransformersEngine().load(folder, EngineSettings())
