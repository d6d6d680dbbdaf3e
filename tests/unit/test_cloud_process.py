"""The life of the cloud process itself."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rehearsal.cloud.client import CloudClient, CloudError, ensure_running, running
from rehearsal.driver_processes import stop_all
from tests.unit.cloud_world import make_world


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("LLMSTACK_RUNNER", "process")
    make_world(tmp_path / "world")
    yield tmp_path / "world"
    stop_all(tmp_path / "world")


def test_it_ends_by_itself_when_nothing_runs_and_nobody_calls(folder):
    command = [sys.executable, "-m", "rehearsal.cloud", "--folder", str(folder), "--idle", "0.2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert not (folder / "cloud.json").exists()


def test_many_callers_at_once_start_one_process(folder):
    found: list[int] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(CloudClient(ensure_running(folder), folder).status()["pid"])
        )
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 5
    assert len(set(found)) == 1


def test_it_keeps_its_port_and_takes_another_one_aloud_when_that_is_taken(folder, capsys):
    first = ensure_running(folder)
    stop_all(folder)
    assert running(folder) is None
    assert ensure_running(folder) == first
    stop_all(folder)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", int(first.rpartition(":")[2])))
        other.listen()
        second = ensure_running(folder)
    assert second != first
    assert "is taken" in capsys.readouterr().err
    credentials = json.loads((folder / "adc.json").read_text())
    assert credentials["token_uri"] == f"{second}/token"


def test_a_process_that_cannot_start_says_why(folder, monkeypatch):
    monkeypatch.setenv("LLMSTACK_RUNNER", "podman")
    with pytest.raises(CloudError, match="auto, docker, process"):
        ensure_running(folder)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    command = [sys.executable, "-m", "rehearsal.cloud", "--folder", str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert str(tmp_path / "none") in done.stderr
    assert "Traceback" not in done.stderr
