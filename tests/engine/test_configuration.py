"""A bad configuration is answered in the same words by the engine and by the command line."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from rehearsal.driver_stack import SALT, SENTINEL
from tests.engine.conftest import BASE, MakeLab
from tests.engine.lab import CHECKOUT, STACK, Lab, make_project, read_json
from tests.unit.config_cases import CASES
from tests.unit.config_cases.builders import ASSISTANT
from tests.unit.config_sources import good

Told = set[tuple[str, str]]
"""Each problem's line, and its remedy below it."""


def deployments_of_cases() -> dict[str, dict[str, Any]]:
    """The unit tests' cases whose fault lies in a deployment alone, each as a deployment of its own."""
    usual = good()
    found: dict[str, Any] = {}
    for config, path, *_ in CASES.values():
        changed = {key for key in config.keys() | usual.keys() if config.get(key) != usual.get(key)}
        if changed <= {"llm:deployments"} and path.startswith(ASSISTANT):
            found[f"case-{len(found)}"] = config["llm:deployments"]["assistant"]
    return found


def paths_of_cases() -> set[str]:
    """Where the faults of `deployments_of_cases` lie."""
    usual = good()
    return {
        path.removeprefix(ASSISTANT).partition("…")[0]
        for config, path, *_ in CASES.values()
        if path.startswith(ASSISTANT) and {**config, "llm:deployments": 0} == {**usual, "llm:deployments": 0}
    }


# A whole stack file each, and words that have to be among what is said of it.
BAD: dict[str, tuple[str, list[str]]] = {
    "a fault in every key of the stack": (
        """
config:
  gcp:project: 12345
  gcp:region: true
  gcp:zone: [us-central1-a]
  gcp:regoin: us-central1
  llm:environment: 5
  llm:hubToken: hf_PlainTextToken0123456789
  llm:hubTokenSecret: projects/p/secrets/s/versions/1
  llm:images: {sever: {}, serve: {digest: sha256:abc}, weights: {base: python}}
  llm:labels: {Team: a, cost: 42, stack: x}
  llm:colour: red
  llm:deployments: hello
""",
        [
            "gcp:zone",
            "gcp:regoin",
            'llm:images.weights.base = "python": is not pinned',
            "llm:labels.cost = 42",
        ],
    ),
    "secrets in the wrong places": (
        yaml.safe_dump(
            {
                "encryptionsalt": SALT,
                "config": {
                    "gcp:project": SENTINEL,
                    "gcp:region": "us-central1",
                    "llm:environment": SENTINEL,
                    "llm:deployments": {"assistant": {"topology": "cloud-run", "model": SENTINEL}},
                    "llm:images": {"serve": {"base": SENTINEL}},
                    "llm:labels": {"team": SENTINEL},
                },
            }
        ),
        [
            "gcp:project = (hidden)",
            "llm:deployments = (hidden)",
            "llm:images = (hidden)",
            "llm:labels = (hidden)",
        ],
    ),
    "what YAML has to offer": (
        """
config:
  project-key-of-ours: 1
  gcp:project: &project acme
  gcp:region: *project
  environment: !!str 010
  llm:labels: {on: yes, since: 2026-01-02, size: 010, part: 1e3, large: 1000000000000000000000000}
  llm:deployments: !!map
    base: &base {topology: cloud-run, model: gpt3, timeoutSeconds: 0o10}
    other: {<<: *base, scaling: {max: 1e3, min: 2_000}}
    асистент: !!omap [a: 1]
---
config: {}
""",
        [
            "llm:project-key-of-ours",
            'llm:environment = "010"',
            "llm:labels.size = 8",
            "llm:labels.large = 1e+24",
            "other.scaling.min = 2000",
        ],
    ),
    "an empty file": ("", ["gcp:project: is required", "llm:deployments: is required"]),
    "a config without a value": ("# nothing\nconfig:\n", ["gcp:region: is required", "llm:environment: is"]),
}

# The engine itself refuses these before it starts our program, in its own words and without a remedy: what is
# right is said by the command line alone.
REFUSED_BY_THE_ENGINE = {
    "a list": ("- a\n", "is not a mapping"),
    "a text": ("hello", "is not a mapping"),
    "a config that is a list": ("config: [1]\n", "is not a mapping"),
    "no YAML": ("config: {a: [1\n", "is not valid YAML at line 2"),
    "a tab": ("config:\n\tgcp:project: x\n", "is not valid YAML at line 2"),
    "a key twice": ("config:\n  gcp:project: a\n  gcp:project: b\n", "gcp:project is written twice"),
    "a key of a deployment twice": (f"config:\n{BASE}      model: gpt2\n", "model is written twice"),
    "a list as a key": ("config:\n  ? [a]\n  : 1\n", "a key must be text"),
    "an anchor that is not there": ("config: {llm:labels: *labels}\n", "is not valid YAML at line 1"),
}


def problems(text: str) -> Told:
    """What a text says of the stack file."""
    lines = [re.sub(r"^\s*(error: )?", "", line) for line in text.splitlines()]
    return {
        (line, remedy)
        for line, remedy in itertools.pairwise([*lines, ""])
        if line.startswith(f"Pulumi.{STACK}.yaml")
    }


def both(lab: Lab, text: str) -> Told:
    """What the engine's program and the command line say of a stack file, which must be the same."""
    (lab.root / f"Pulumi.{STACK}.yaml").write_text(text, encoding="utf-8")
    engine = lab.pulumi("preview", "--stack", STACK, check=False, folder=lab.root)
    command = llmstack(lab.root, "plan", STACK)
    everything = engine.stdout + engine.stderr + command.stderr
    assert engine.returncode != 0
    assert command.returncode == 1
    assert "Traceback" not in everything
    assert "hf_PlainTextToken" not in everything
    said = problems(command.stderr)
    assert problems(engine.stdout + engine.stderr) == said
    assert all(remedy for _, remedy in said)
    return said


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
    text, words = BAD[case]
    said = [line for line, _ in both(lab, text)]
    assert [word for word in words if not any(word in line for line in said)] == []


def test_the_engine_and_the_command_say_the_same_of_every_faulty_deployment(lab: Lab) -> None:
    faulty = deployments_of_cases()
    document = {"config": {**good(), "llm:deployments": faulty}}
    said = both(lab, yaml.safe_dump(document, allow_unicode=True))
    assert len(faulty) >= 100
    assert {name for name in faulty if any(f"llm:deployments.{name}." in line for line, _ in said)} == set(
        faulty
    )
    assert [path for path in paths_of_cases() if not any(path in line for line, _ in said)] == []


@pytest.mark.parametrize("case", REFUSED_BY_THE_ENGINE)
def test_a_file_that_the_engine_refuses_is_explained_by_the_command(lab: Lab, case: str) -> None:
    text, reason = REFUSED_BY_THE_ENGINE[case]
    (lab.root / f"Pulumi.{STACK}.yaml").write_text(text, encoding="utf-8")
    engine = lab.pulumi("preview", "--stack", STACK, check=False, folder=lab.root)
    assert engine.returncode != 0
    assert "error: getting stack configuration" in engine.stderr
    assert problems(engine.stdout + engine.stderr) == set()
    command = llmstack(lab.root, "plan", STACK)
    assert command.returncode == 1
    ((line, remedy),) = problems(command.stderr)
    assert reason in line
    assert remedy


def test_the_engine_keeps_the_line_that_names_the_schema_and_the_comments(lab: Lab) -> None:
    path = lab.root / f"Pulumi.{STACK}.yaml"
    first = "# yaml-language-server: $schema=docs/schema/stack.schema.json"
    path.write_text(f"{first}\nconfig:\n  # kept\n{BASE}", encoding="utf-8")
    change = ("--stack", STACK, "--path", "llm:deployments.assistant.model", "gpt2")
    lab.pulumi("config", "set", *change, folder=lab.root)
    lab.pulumi("config", "set", "--stack", STACK, "--secret", "llm:hubToken", "x", folder=lab.root)
    text = path.read_text(encoding="utf-8")
    assert text.splitlines()[0] == first
    assert "  # kept\n" in text
    assert "model: gpt2\n" in text


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
