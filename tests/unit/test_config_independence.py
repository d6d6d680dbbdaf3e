"""A fault in one part of a configuration hides no fault in another, and makes none up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.config_cases.builders import ASSISTANT, LLAMA_7B, deployments
from tests.unit.config_sources import TINY, good, problems

FAR_TOO_LARGE = {**TINY, "architecture": {**LLAMA_7B, "decoderLayers": 800}}

TOGETHER: dict[str, tuple[dict[str, Any], list[str]]] = {
    "a misspelt topology and what the topology says": (
        good(topology="cloud-rum", model="gpt3", timeoutSeconds=0, scaling={"min": 4}),
        ["model", "scaling.min", "timeoutSeconds", "topology"],
    ),
    "a topology that is not built and its model": (
        good(topology="dataflow", model="google/flan-t5-bas", replicas=2),
        ["model", "topology"],
    ),
    "a topology that is not built and an inline model": (
        good(topology="dataflow", model={**TINY, "licens": "MIT", "context": 0}),
        ["model.context", "model.licens", "topology"],
    ),
    "a topology like none and no model": (
        deployments({"assistant": {"topology": "sagemaker"}}),
        ["model", "topology"],
    ),
    "a misspelt key of the topology and what the topology says": (
        deployments({"assistant": {"topolgy": "cloud-run", "model": "gpt2", "timeoutSeconds": 0}}),
        ["timeoutSeconds", "topolgy"],
    ),
    "a misspelt key and what it says": (
        good(scalling={"min": 9, "mx": 2}),
        ["scaling.min", "scaling.mx", "scalling"],
    ),
    "a misspelt section and what it says of the machine": (
        good(resorces={"memory": "1Gi"}),
        ["resorces", "resources.memory"],
    ),
    "a wrong memory, and a GPU that the region has not": (
        {**good(resources={"gpu": "nvidia-l4", "memory": "4GB"}), "gcp:region": "us-west1"},
        ["resources.gpu", "resources.memory"],
    ),
    "an unknown model, and a GPU that the region has not": (
        {**good(model="gpt3", resources={"gpu": "nvidia-l4"}), "gcp:region": "us-west1"},
        ["model", "resources.gpu"],
    ),
    "a wrong resource, and an unknown model": (
        good(model="gpt3", resources={"gpu": "l4"}),
        ["model", "resources.gpu"],
    ),
    "a wrong resource, and a prompt longer than the context": (
        good(model="gpt2", resources={"gpu": "l4"}, limits={"maxInputTokens": 4000}),
        ["limits.maxInputTokens", "resources.gpu"],
    ),
    "a wrong resource, and a gated model without a token": (
        good(model={**TINY, "gated": True}, resources={"cpu": "many"}),
        ["model", "resources.cpu"],
    ),
    "an unknown model, and more requests than the queue holds": (
        good(model="gpt3", scaling={"concurrency": 20}, limits={"queue": 10}),
        ["model", "scaling.concurrency"],
    ),
    "a wrong revision, and an unknown engine": (
        good(revision="main", engine="vlm"),
        ["engine", "revision"],
    ),
    "a name that is none, and what is below it": (
        deployments({"Chat": {"topology": "cloud-run", "model": "gpt3", "timeoutSeconds": 0}}),
        ["", "model", "timeoutSeconds"],
    ),
}


@pytest.mark.parametrize("case", TOGETHER)
def test_faults_of_different_parts_are_told_together(case: str, tmp_path: Path) -> None:
    config, keys = TOGETHER[case]
    root = f"llm:deployments.{next(iter(config['llm:deployments']))}"
    expected = [f"{root}.{key}".rstrip(".") for key in keys]
    assert [problem.path for problem in problems(config, tmp_path).problems] == expected


ALONE: dict[str, tuple[dict[str, Any], str]] = {
    "a wrong GPU is not answered with the sizing of another machine": (
        good(model=FAR_TOO_LARGE, resources={"gpu": "l4"}),
        "resources.gpu",
    ),
    "a wrong element type is not answered with the sizing of another": (
        good(model=FAR_TOO_LARGE, dtype="bf16"),
        "dtype",
    ),
    "wrong limits are not answered with the sizing of others": (
        good(model=FAR_TOO_LARGE, limits={"maxNewTokens": "few"}),
        "limits.maxNewTokens",
    ),
    "a wrong max is not answered with a min above the usual one": (
        good(scaling={"min": 5, "max": "ten"}),
        "scaling.max",
    ),
    "a wrong model is not answered with the limits of another": (
        good(model="gpt3", limits={"maxInputTokens": 100_000}),
        "model",
    ),
    "a wrong model is not answered with the engines of another": (
        good(model="gpt3", engine="jetstream"),
        "model",
    ),
}


@pytest.mark.parametrize("case", ALONE)
def test_what_was_left_out_makes_up_no_fault(case: str, tmp_path: Path) -> None:
    config, key = ALONE[case]
    assert [problem.path for problem in problems(config, tmp_path).problems] == [f"{ASSISTANT}.{key}"]


def test_a_wrong_name_of_the_tokens_secret_is_not_answered_with_a_missing_token(tmp_path: Path) -> None:
    config = {**good(model={**TINY, "gated": True}), "llm:hubTokenSecret": "hub token"}
    assert [problem.path for problem in problems(config, tmp_path).problems] == ["llm:hubTokenSecret"]


def test_wrong_keys_of_the_stack_hide_nothing_of_the_deployments(tmp_path: Path) -> None:
    config = {
        **good(model="gpt3", resources={"cpu": 3}),
        "gcp:project": 1,
        "gcp:region": "moon",
        "gcp:zone": "europe-west4-a",
        "llm:environment": "none",
        "llm:images": {"sever": {}},
        "llm:labels": {"Team": "a"},
    }
    found = {problem.path for problem in problems(config, tmp_path).problems}
    assert found == {
        "gcp:project",
        "gcp:region",
        "llm:environment",
        "llm:images.sever",
        "llm:labels.Team",
        f"{ASSISTANT}.model",
    }
