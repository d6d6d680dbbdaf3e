"""The demonstration, whole: real engine, real staging, real service, answered prompts."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from rehearsal.driver import Rehearsal
from tests.engine.conftest import BASE
from tests.engine.lab import CHECKOUT, make_project

PROMPT = "Tell me a joke"
FLAN, GPT2 = "google/flan-t5-small", "gpt2"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    project = make_project(tmp_path_factory.mktemp("demo") / "p", BASE)
    source = CHECKOUT / "Pulumi.local.yaml"
    (project / source.name).write_text(source.read_text(encoding="utf-8"))
    yield project
    Rehearsal(project, "local").down()


def run(root: Path, *command: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LLMSTACK_RUNNER": "process"}
    environment.pop("HF_ENDPOINT", None)
    return subprocess.run(
        [str(CHECKOUT / ".venv/bin/python"), *command],
        cwd=root,
        env=environment,
        input=given,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def demo(root: Path, *arguments: str) -> dict:
    done = run(root, "-m", "llmstack.demo", *arguments)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    report = json.loads(done.stdout.strip().splitlines()[-1])
    assert isinstance(report, dict)
    return report


@pytest.fixture(scope="module")
def kept(root: Path) -> dict:
    """The report of a demonstration that stopped before its destroy."""
    return demo(root, "--keep")


def ask(root: Path, *arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    return run(root, "-m", "llmstack.main", "ask", *arguments, given=given)


def test_the_demonstration_switches_there_and_back_and_stages_each_model_once(kept: dict) -> None:
    assert kept["models"] == [FLAN, GPT2, FLAN]
    assert all(kept["answers"])
    assert kept["answers"][0] == kept["answers"][2] != kept["answers"][1]
    assert kept["executions"] == 2
    up, switch, back = kept["steps"]
    assert up["created"] > 20
    assert (switch["created"], switch["replaced"], switch["deleted"]) == (0, 0, 0)
    assert (back["created"], back["replaced"], back["deleted"]) == (0, 0, 0)
    assert switch["updated"] == back["updated"] == 3


def test_the_printed_address_answers_plainly_and_as_a_stream(kept: dict) -> None:
    plain = httpx.post(f"{kept['url']}/predict", content=PROMPT, headers={"content-type": "text/plain"})
    assert plain.status_code == 200
    assert plain.text == kept["answers"][2]
    with httpx.stream("POST", f"{kept['url']}/generate", json={"prompt": PROMPT, "stream": True}) as answer:
        events = [json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: ")]
    assert "".join(event.get("token", "") for event in events[:-1]) == kept["answers"][2]
    assert events[-1]["done"] is True


def test_the_command_asks_the_same_service(root: Path, kept: dict) -> None:
    streamed = ask(root, "local", "assistant", PROMPT)
    assert streamed.returncode == 0, streamed.stderr
    assert streamed.stdout.strip() == kept["answers"][2]
    as_json = ask(root, "local", "assistant", PROMPT, "--json")
    assert json.loads(as_json.stdout)["generated_text"] == kept["answers"][2]
    piped = ask(root, "local", "assistant", given=f"{PROMPT}\n")
    assert piped.returncode == 0
    assert piped.stdout.strip() == kept["answers"][2]


def test_a_load_test_measures_it_and_draws_a_plot(root: Path, kept: dict, tmp_path: Path) -> None:
    assert kept
    sweep = ("--concurrency", "1,4", "--requests", "8", "--warm-up", "0", "--max-new-tokens", "8", "--stream")
    files = ("--json", str(tmp_path / "figures.json"), "--plot", str(tmp_path / "plot.png"))
    done = run(root, "-m", "llmstack.main", "load-test", "local", "assistant", *sweep, *files)
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert figures["complete"]
    assert [step["answered"] for step in figures["steps"]] == [8, 8]
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_a_prompt_that_is_too_long_is_refused_in_one_line(root: Path, kept: dict) -> None:
    assert kept
    done = ask(root, "local", "assistant", "joke " * 2000)
    assert done.returncode == 1
    assert "token" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_invokers_the_service_refuses_strangers_and_answers_its_owner(root: Path, kept: dict) -> None:
    file = root / "Pulumi.local.yaml"
    before = file.read_text(encoding="utf-8")
    file.write_text(before.replace("invokers: [allUsers]", "invokers: []"), encoding="utf-8")
    try:
        up = pulumi(root, "up", "--yes", "--skip-preview", "--non-interactive")
        assert up.returncode == 0, up.stdout
        stranger = httpx.post(f"{kept['url']}/generate", json={"prompt": PROMPT})
        assert stranger.status_code == 403
        owner = ask(root, "local", "assistant", PROMPT)
        assert owner.returncode == 0, owner.stderr
        assert owner.stdout.strip() == kept["answers"][2]
    finally:
        file.write_text(before, encoding="utf-8")


def test_another_engine_is_rolled_out_in_place_and_answers_from_weights_of_its_own(
    root: Path, kept: dict
) -> None:
    file = root / "Pulumi.local.yaml"
    before = file.read_text(encoding="utf-8")
    quantised = before.replace(
        "      scaling:", "      engine: ctranslate2\n      dtype: int8\n      scaling:"
    )
    file.write_text(quantised, encoding="utf-8")
    try:
        up = pulumi(root, "up", "--yes", "--skip-preview", "--non-interactive")
        assert up.returncode == 0, up.stdout
        assert "replaced" not in up.stdout
        shown = pulumi(root, "stack", "output", "--json")
        assert json.loads(shown.stdout)["urls"] == {"assistant": kept["url"]}
        answered = ask(root, "local", "assistant", PROMPT)
        assert answered.returncode == 0, answered.stderr
        assert answered.stdout.strip() == kept["answers"][2]
    finally:
        file.write_text(before, encoding="utf-8")


def pulumi(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    rehearsal = Rehearsal(root, "local")
    return subprocess.run(
        ["pulumi", *arguments, "--stack", "local"],
        cwd=root,
        env={**os.environ, **rehearsal.environment(), "LLMSTACK_RUNNER": "process"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_two_demonstrations_do_not_run_in_one_folder_at_once(root: Path, kept: dict) -> None:
    assert kept
    with Rehearsal(root, "local").exclusive():
        done = run(root, "-m", "llmstack.demo")
    assert done.returncode == 1
    assert "another process" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_whole_demonstration_leaves_nothing_behind(root: Path, kept: dict) -> None:
    assert kept
    report = demo(root)
    assert report["left"] == []
    assert report["steps"][-1]["deleted"] > 20
    assert Rehearsal(root, "local").leftovers() == []
    with pytest.raises(httpx.ConnectError):
        httpx.get(report["url"])
