"""A bad configuration is answered in the same words by the engine and by the command line."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.conftest import BASE, MakeLab
from tests.engine.lab import CHECKOUT, STACK, Lab, make_project, read_json

BAD = {
    "an unknown topology and an unknown model": BASE.replace("cloud-run", "cloud-rum").replace(
        "flan-t5-small", "flan-t5-smal"
    ),
    "odd scalars": """
  gcp:project: 12345
  gcp:region: true
  llm:environment: 5
  llm:deployments: hello
""",
    "an unknown key and min above max": BASE + "      scaling: {min: 5, max: 2}\n      colour: red\n",
    "nothing but a project": "  gcp:project: llm-test\n",
    "a token in plain text": BASE + "  llm:hubToken: hf_PlainTextToken0123456789\n",
    "a deployment too small for its model": BASE.replace("flan-t5-small", "flan-t5-large")
    + "      resources: {memory: 512Mi}\n",
}


def problems(text: str) -> list[str]:
    """The lines that speak of the stack file, and each one's remedy below it."""
    lines = [re.sub(r"^\s*(error: )?", "", line) for line in text.splitlines()]
    return [line for line in lines if line.startswith(f"Pulumi.{STACK}.yaml")]


def llmstack(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [CHECKOUT / ".venv/bin/llmstack", *arguments],
        cwd=root,
        env={**os.environ, "COLUMNS": "400"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, hub: str) -> Iterator[Lab]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", hub)
        lab = Lab(make_project(tmp_path_factory.mktemp("config") / "p", BASE))
    yield lab
    lab.rehearsal.down()


@pytest.mark.parametrize("case", BAD)
def test_the_engine_and_the_command_say_the_same(lab: Lab, case: str) -> None:
    lab.config(BAD[case])
    engine = lab.pulumi("preview", "--stack", STACK, check=False, folder=lab.root)
    command = llmstack(lab.root, "plan", STACK)
    assert engine.returncode != 0
    assert command.returncode == 1
    said = problems(command.stderr)
    assert said
    assert sorted(set(problems(engine.stdout + engine.stderr))) == sorted(set(said))
    assert "Traceback" not in engine.stdout + engine.stderr + command.stderr
    assert "hf_PlainTextToken" not in engine.stdout + engine.stderr + command.stderr


def test_the_environment_for_working_by_hand_works(make_lab: MakeLab) -> None:
    lab = make_lab()
    script = (
        f'eval "$({CHECKOUT}/.venv/bin/llmstack env {STACK})" && pulumi preview --non-interactive '
        "&& pulumi config set --path llm:deployments.assistant.model gpt2 "
        "&& pulumi up --yes --non-interactive && pulumi stack output urls "
        "&& pulumi destroy --yes --non-interactive"
    )
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=lab.root,
        env={**os.environ, "LLMSTACK_RUNNER": "none"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "assistant" in done.stdout
    assert lab.rehearsal.leftovers() == [
        left for left in lab.rehearsal.leftovers() if left.startswith("process")
    ]


def test_two_shells_may_prepare_one_rehearsal_at_once(make_lab: MakeLab) -> None:
    lab = make_lab()
    lab.rehearsal.forget()
    command = [str(CHECKOUT / ".venv/bin/llmstack"), "env", STACK]
    shells = [
        subprocess.Popen(command, cwd=lab.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = [shell.communicate(timeout=120) for shell in shells]
    assert [shell.returncode for shell in shells] == [0, 0], answers
    assert answers[0][0] == answers[1][0]
    assert f"LLMSTACK_REHEARSAL={lab.rehearsal.folder}" in answers[0][0]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("plan", "nowhere"), "Pulumi.nowhere.yaml"),
        (("env", "../etc"), "there is no stack"),
        (("fit", "flan-t5-smal"), "google/flan-t5-small"),
        (("ask", STACK, "nobody", "hello"), "nobody"),
    ],
)
def test_a_wrong_word_is_answered_with_what_would_be_right(
    lab: Lab, arguments: tuple[str, ...], word: str
) -> None:
    lab.config(BASE)
    done = llmstack(lab.root, *arguments)
    assert done.returncode in (1, 2)
    assert word in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [("models",), ("fit", "gpt2"), ("plan", STACK)])
def test_every_answer_is_there_as_json(lab: Lab, arguments: tuple[str, ...]) -> None:
    lab.config(BASE)
    done = llmstack(lab.root, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    assert read_json(done.stdout)
