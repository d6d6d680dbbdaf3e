"""A server with more clients than it holds, for twenty seconds; `overload.py` does it for longer."""

from __future__ import annotations

from pathlib import Path

from overload import overload
from test_process import server


def test_an_overloaded_server_answers_what_it_can_refuses_the_rest_and_does_not_grow(
    environment: dict[str, str], tmp_path: Path, run
) -> None:
    limits = {"MAX_INPUT_TOKENS": "128", "MAX_NEW_TOKENS": "48", "MAX_QUEUE": "8"}
    with server(environment | limits, tmp_path / "log") as (process, client):
        report = run(overload(str(client.base_url), process.pid, seconds=20, clients=32))
        assert client.get("/health").status_code == 200
    answers = report["answers"]
    assert set(answers) <= {"200", "429", "left"}
    assert answers["200"] > 0
    assert answers["429"] > 0
    memory = report["memory_mib"]
    assert memory["median_of_last_third"] < memory["median_of_second_third"] + 32
    assert "Traceback" not in (tmp_path / "log").read_text()
