"""`llmstack load-test`: its table, its files, what it asks before it costs money, its exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result as Ran
from matplotlib.image import imread
from typer.testing import CliRunner

from llmstack.load.arrivals import Length
from llmstack.load.plot import save_plot
from llmstack.load.summary import Result, Spread
from llmstack.load.sweep import Sweep
from llmstack.main import app
from tests.unit.scripted_serving import MODEL, Script, enter, refusal, serving

PNG = b"\x89PNG\r\n\x1a\n"
QUICK = ("--requests", "4", "--warm-up", "0", "--concurrency", "1,2")


@pytest.fixture
def script() -> Iterator[Script]:
    """A running server's script."""
    with serving(Script()) as running:
        yield running


@pytest.fixture
def project(script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a checkout whose deployment is the server, and is no rehearsal."""
    return enter(script, tmp_path, monkeypatch)


def load_test(*words: str, status: int = 0) -> Ran:
    done = CliRunner().invoke(app, ["load-test", "dev", "assistant", *words])
    assert done.exit_code == status, done.output
    assert "Traceback" not in done.output
    return done


def test_a_sweep_ends_in_a_table_a_plot_and_all_figures_as_json(project: Path, script: Script) -> None:
    done = load_test(*QUICK, "--yes", "--stream", "--json", "figures.json")
    assert f"{MODEL} (dev assistant), at most 64 new tokens; times in seconds" in done.stdout
    assert "between tokens p50" in done.stdout
    assert "8 requests (2 steps, each with 0 s of warm-up)" in done.stderr
    figures = json.loads((project / "figures.json").read_text())
    assert (figures["model"], figures["loop"], figures["complete"]) == (MODEL, "closed", True)
    assert [(step["load"], step["answered"]) for step in figures["steps"]] == [(1, 4), (2, 4)]
    assert figures["steps"][0]["latency"].keys() == {"p50", "p95", "p99", "largest"}
    picture = project / "load-test-dev-assistant.png"
    assert "plot: load-test-dev-assistant.png" in done.stderr
    assert picture.read_bytes().startswith(PNG)
    # One first answer finds out whether there is anything to measure.
    assert len(script.bodies) == 9


def test_an_open_loop_takes_rates(project: Path) -> None:
    done = load_test("--rate", "20,40", "--requests", "3", "--warm-up", "0", "--yes", "--no-plot")
    assert "requests/s offered" in done.stdout
    assert "6 requests" in done.stderr
    assert not list(project.glob("*.png"))


@pytest.mark.usefixtures("project")
def test_a_real_deployment_is_not_loaded_without_a_yes(script: Script) -> None:
    done = load_test(*QUICK, status=2)
    assert "assistant of stack dev is real and its answers cost money: say --yes" in done.stderr
    assert script.bodies == []


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--concurrency", "1", "--rate", "1"), "not both"),
        (("--concurrency", "1,,2"), "--concurrency is '1,,2': give positive numbers"),
        (("--concurrency", "1.5"), "give positive numbers"),
        (("--concurrency", "0"), "give positive numbers"),
        (("--rate", "nan"), "--rate is 'nan': give positive numbers"),
        (("--rate", "-1"), "give positive numbers"),
        (("--seconds", "1", "--requests", "1"), "not both"),
        (("--seconds", "inf"), "--seconds is inf"),
        (("--concurrency", "999999"), "raise ulimit -n"),
        (("--prompt", " "), "the prompt is empty"),
        (("--prompt", "a", "--prompts", "b"), "not both"),
        (("--prompts", "missing.txt"), "missing.txt cannot be read"),
        (("--plot", "plot.svg"), "must end in .png"),
        (("--plot", "plot.png", "--no-plot"), "not both"),
        (("--plot", "missing/plot.png"), "there is no folder missing"),
        (("--json", "missing/figures.json"), "there is no folder missing"),
    ],
)
def test_wrong_usage_is_one_line_and_sends_nothing(
    script: Script, words: tuple[str, ...], message: str
) -> None:
    done = load_test(*words, "--yes", status=2)
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert script.bodies == []


@pytest.mark.usefixtures("project")
def test_a_deployment_that_refuses_the_first_prompt_is_not_loaded(script: Script) -> None:
    script.refusals.append(refusal(422, "64 new tokens are asked for, the limit is 32: ask for fewer"))
    done = load_test(*QUICK, "--yes", status=1)
    assert "422: 64 new tokens are asked for, the limit is 32: ask for fewer" in done.stderr
    assert len(script.bodies) == 1


def test_when_nothing_is_answered_the_table_says_why_and_the_exit_code_too(
    project: Path, script: Script
) -> None:
    full = [refusal(429, "all places are taken", retry_after="0") for _ in range(8)]
    script.refusals.extend([None, *full])
    done = load_test(*QUICK, "--yes", status=1)
    assert "4 × 429" in done.stdout
    assert "4 × 429: 429: all places are taken" in done.stderr
    assert "no request was answered" in done.stderr
    assert not list(project.glob("*.png"))


def test_ctrl_c_shows_what_was_measured_and_ends_with_130(project: Path, script: Script) -> None:
    command = [sys.executable, "-m", "llmstack.main", "load-test", "dev", "assistant", "--seconds", "600"]
    process = subprocess.Popen(
        [*command, "--warm-up", "0", "--concurrency", "2,4", "--yes", "--json", "figures.json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while len(script.bodies) < 20:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "2 (cut short)" in stdout
    assert "Traceback" not in stderr
    figures = json.loads((project / "figures.json").read_text())
    assert figures["complete"] is False
    assert figures["steps"][0]["answered"] > 0


def result(load: float, latency: Spread | None) -> Result:
    return Result(load, 10.0, 5, 5, load / 2, 8 * load, latency, latency, latency, {}, {}, 0.0, False)


def test_the_plot_draws_what_there_is(tmp_path: Path) -> None:
    few = tmp_path / "few.png"
    save_plot(few, "one step", "clients", [result(1, None)])
    many = tmp_path / "many.png"
    steps = [result(load, Spread(0.1 * load, 0.2 * load, 0.3 * load, 1.0)) for load in (1, 2, 4, 8, 16)]
    save_plot(many, "a sweep", "clients", steps)
    one, several = imread(few), imread(many)
    assert one.shape == several.shape
    # Two panels side by side, with ink in both.
    half = several.shape[1] // 2
    assert several[:, :half].min() < 0.5
    assert several[:, half:].min() < 0.5
    assert (one != several).any()


def test_what_a_test_costs_is_said_as_far_as_it_can_be_known() -> None:
    def cost(length: Length, concurrency: tuple[int, ...], rates: tuple[float, ...]) -> str:
        return Sweep(concurrency, rates, length, (), 8, False, 9.0, 0).cost()

    assert cost(Length(2, requests=100), (1, 2), ()).startswith("200 requests (2 steps, each with 2 s")
    assert cost(Length(2, seconds=8), (), (1.0, 5.0)).startswith("about 60 requests (2 steps")
    closed = cost(Length(2, seconds=8), (1, 32), ())
    assert closed.startswith("as many requests as are answered in 2 × 8 s")
    assert closed.endswith("up to 32 at once")
