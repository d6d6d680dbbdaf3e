"""Each fault of a configuration is told with its path, the value, the reason and what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.config_cases import CASES, THEMES
from tests.unit.config_cases.builders import ASSISTANT, LLAMA_7B
from tests.unit.config_sources import TINY, good, problems


@pytest.mark.parametrize("case", CASES)
def test_a_fault_is_told_with_path_value_reason_and_remedy_by_both_sources(case: str, tmp_path: Path) -> None:
    config, path, value, reason, remedy = CASES[case]
    error = problems(config, tmp_path)
    assert [problem.path for problem in error.problems] == [path]
    (problem,) = error.problems
    assert (problem.value is None) == (value is None)
    assert (value or "") in (problem.value or "")
    assert reason in problem.reason
    assert remedy in problem.remedy
    assert str(error).startswith(f"Pulumi.dev.yaml: {path}")
    assert len(str(error).splitlines()) == 2


def test_the_table_has_no_fewer_cases_than_promised() -> None:
    assert len(CASES) == sum(map(len, THEMES)), "two themes name a case alike"
    assert len(CASES) >= 200


def test_all_faults_are_told_at_once_those_of_the_plan_included(tmp_path: Path) -> None:
    config = {
        "gcp:project": 1,
        "llm:enviroment": "dev",
        "llm:deployments": {
            "a": {"topology": "cloud-run", "model": "gpt3", "scaling": {"min": 4, "mx": 3}},
            "b": {"topology": "dataflow", "model": "gpt2"},
            "c": {"topology": "cloud-run", "model": "gpt2", "resources": {"memory": "1Gi"}},
        },
    }
    error = problems(config, tmp_path)
    assert [problem.path for problem in error.problems] == [
        "gcp:project",
        "gcp:region",
        "llm:deployments.a.model",
        "llm:deployments.a.scaling.min",
        "llm:deployments.a.scaling.mx",
        "llm:deployments.b.topology",
        "llm:deployments.c.resources.memory",
        "llm:enviroment",
        "llm:environment",
    ]


def test_a_wrong_revision_is_told_whatever_the_topology(tmp_path: Path) -> None:
    error = problems(good(topology="dataflow", model="gpt2", revision="main"), tmp_path)
    told = {problem.path: problem.reason for problem in error.problems}
    assert told.keys() == {f"{ASSISTANT}.revision", f"{ASSISTANT}.topology"}
    assert told[f"{ASSISTANT}.revision"] == "is not a commit"


def test_a_wrong_resource_is_not_answered_with_the_sizing_of_another_machine(tmp_path: Path) -> None:
    large = {**LLAMA_7B, "decoderLayers": 80}
    config = good(model={**TINY, "architecture": large}, resources={"gpu": "l4"})
    assert [problem.path for problem in problems(config, tmp_path).problems] == [f"{ASSISTANT}.resources.gpu"]


def test_no_message_shows_a_token_wherever_it_was_written(tmp_path: Path) -> None:
    token = "hf_abcdefghijklmnopqrstuvwxyz"
    config = good(model=token, timeoutSeconds=token)
    config["llm:hubToken"] = token
    config["llm:environment"] = f"dev {token}"
    assert token not in str(problems(config, tmp_path))
