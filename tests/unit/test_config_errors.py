"""Each fault of a configuration is told with its path, the value, the reason and what would be right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.config_sources import good, problems

A = "llm:deployments.assistant"
SHAPE = {
    "kind": "llama",
    "dModel": 64,
    "dFf": 128,
    "decoderLayers": 2,
    "heads": 4,
    "kvHeads": 2,
    "headDim": 16,
    "vocab": 1000,
    "tiedEmbeddings": True,
}
INLINE = {
    "repository": "acme/tiny",
    "revision": "0" * 40,
    "family": "decoder",
    "architecture": SHAPE,
    "context": 256,
}

LLAMA_7B = {
    **SHAPE,
    "dModel": 4096,
    "dFf": 11008,
    "decoderLayers": 32,
    "heads": 32,
    "kvHeads": 32,
    "headDim": 128,
    "vocab": 32000,
    "tiedEmbeddings": False,
}


def top(**changes: Any) -> dict[str, Any]:
    """The good configuration with top-level keys changed; `llm_labels` stands for `llm:labels`."""
    named = {key.replace("_", ":", 1): value for key, value in changes.items()}
    return {key: value for key, value in {**good(), **named}.items() if value is not ...}


def inline(**changes: Any) -> dict[str, Any]:
    return good(model={**INLINE, **changes})


def shaped(**changes: Any) -> dict[str, Any]:
    return inline(architecture={**SHAPE, **changes})


def deployments(value: Any) -> dict[str, Any]:
    return top(llm_deployments=value)


# configuration, path, value, reason, remedy
CASES: dict[str, tuple[dict[str, Any], str, str | None, str, str]] = {
    "project missing": (top(gcp_project=...), "gcp:project", None, "missing", "config set gcp:project"),
    "project empty": (top(gcp_project=""), "gcp:project", None, "missing", "config set gcp:project"),
    "project null": (top(gcp_project=None), "gcp:project", None, "missing", "config set gcp:project"),
    "project number": (top(gcp_project=123456), "gcp:project", '"123456"', "number", "project's ID"),
    "project upper case": (
        top(gcp_project="Acme-ML"),
        "gcp:project",
        '"Acme-ML"',
        "not a project ID",
        "6 to 30",
    ),
    "project a mapping": (top(gcp_project={"a": "<b>"}), "gcp:project", "<b>", "not text", "one value"),
    "project secret": (
        top(gcp_project={"secure": "v1:x"}),
        "gcp:project",
        "(hidden)",
        "secret",
        "plain text",
    ),
    "region missing": (top(gcp_region=...), "gcp:region", None, "missing", "config set gcp:region"),
    "region a zone": (top(gcp_region="us-central1-a"), "gcp:region", "us-central1-a", "zone", "us-central1"),
    "region misspelt": (
        top(gcp_region="uscentral1"),
        "gcp:region",
        "",
        "not a region",
        "did you mean us-central1",
    ),
    "environment missing": (top(llm_environment=...), "llm:environment", None, "missing", "llm:environment"),
    "environment unknown": (
        top(llm_environment="stagin"),
        "llm:environment",
        '"stagin"',
        "not an environment",
        "did you mean staging",
    ),
    "environment a flag": (top(llm_environment=True), "llm:environment", '"true"', "not an", "dev, local"),
    "key misspelt": (top(llm_deployment={}), "llm:deployment", None, "not a known key", "llm:deployments"),
    "token in plain text": (
        top(llm_hubToken="hf_abcdefghijklmnop"),
        "llm:hubToken",
        "(hidden)",
        "plain text",
        "pulumi config set --secret llm:hubToken",
    ),
    "token twice": (
        top(llm_hubToken={"secure": "v1:x"}, llm_hubTokenSecret="hub"),
        "llm:hubTokenSecret",
        None,
        "beside llm:hubToken",
        "keep one",
    ),
    "token secret with version": (
        top(llm_hubTokenSecret="projects/p/secrets/hub/versions/1"),
        "llm:hubTokenSecret",
        "versions",
        "not a secret's name",
        "without a version",
    ),
    "deployments missing": (deployments(...), "llm:deployments", None, "missing", "cloud-run"),
    "deployments null": (deployments(None), "llm:deployments", None, "missing", "cloud-run"),
    "deployments none": (deployments({}), "llm:deployments", None, "missing", "cloud-run"),
    "deployments text": (
        deployments("assistant"),
        "llm:deployments",
        '"assistant"',
        "not a mapping",
        "names",
    ),
    "deployments a list": (
        deployments([1]),
        "llm:deployments",
        "[1]",
        "not a mapping",
        "names to deployments",
    ),
    "deployments a number": (deployments(3), "llm:deployments", "3", "not a mapping", "names to deployments"),
    "secure in a deployment": (
        good(model={"secure": "v1:x"}),
        "llm:deployments",
        "(hidden)",
        "holds, a secret",
        "llm:hubToken",
    ),
    "secure deep in a list": (
        good(access={"invokers": [{"secure": "v1:x"}]}),
        "llm:deployments",
        "(hidden)",
        "state in plain text",
        "remove secure:",
    ),
    "deployment a text": (deployments({"a": "gpt2"}), "llm:deployments.a", '"gpt2"', "mapping", "topology"),
    "deployment null": (deployments({"a": None}), "llm:deployments.a", "null", "mapping", "topology"),
    "deployment upper case": (
        deployments({"Chat": {"topology": "cloud-run", "model": "gpt2"}}),
        "llm:deployments.Chat",
        '"Chat"',
        "not a deployment's name",
        "lower-case",
    ),
    "deployment name too long": (
        deployments({"a" * 41: {"topology": "cloud-run", "model": "gpt2"}}),
        f"llm:deployments.{'a' * 41}",
        "aaa",
        "not a deployment's name",
        "1 to 40",
    ),
    "topology missing": (
        deployments({"a": {"model": "gpt2"}}),
        "llm:deployments.a.topology",
        None,
        "missing",
        "cloud-run",
    ),
    "topology unknown": (
        good(topology="cloudrun"),
        f"{A}.topology",
        '"cloudrun"',
        "not a known",
        "cloud-run",
    ),
    "topology a number": (good(topology=1), f"{A}.topology", "1", "not a known topology", "cloud-run"),
    "topology not built": (
        good(topology="gke-tpu"),
        f"{A}.topology",
        "gke-tpu",
        "not built yet",
        "cloud-run",
    ),
    "model missing": (
        deployments({"a": {"topology": "cloud-run"}}),
        "llm:deployments.a.model",
        None,
        "missing",
        "add model",
    ),
    "model unknown": (
        good(model="google/flan-t5-bas"),
        f"{A}.model",
        "flan-t5-bas",
        "not in the catalog",
        "did you mean google/flan-t5-base",
    ),
    "model a number": (good(model=5), f"{A}.model", "5", "not text", 'in quotes: "5"'),
    "model a list": (good(model=["gpt2"]), f"{A}.model", '["gpt2"]', "not text", "write text"),
    "revision a branch": (good(revision="main"), f"{A}.revision", '"main"', "not a commit", "40 lower-case"),
    "revision a number": (good(revision=12345), f"{A}.revision", "12345", "not text", "in quotes"),
    "key of a deployment misspelt": (
        good(scalling={"max": 1}),
        f"{A}.scalling",
        "",
        "not a known key",
        "did you mean scaling",
    ),
    "key in snake case": (
        good(timeout_seconds=10),
        f"{A}.timeout_seconds",
        "10",
        "not a known key",
        "did you mean timeoutSeconds",
    ),
    "min above max": (good(scaling={"min": 5}), f"{A}.scaling.min", "5", "above max (3)", "at most 3"),
    "min negative": (good(scaling={"min": -1}), f"{A}.scaling.min", "-1", "below 0", "at least 0"),
    "max zero": (good(scaling={"max": 0}), f"{A}.scaling.max", "0", "below 1", "at least 1"),
    "max in quotes": (good(scaling={"max": "3"}), f"{A}.scaling.max", '"3"', "whole number", "quotes: 3"),
    "max a fraction": (good(scaling={"max": 1.5}), f"{A}.scaling.max", "1.5", "whole number", "whole number"),
    "max a flag": (good(scaling={"max": True}), f"{A}.scaling.max", "true", "whole number", "whole number"),
    "scaling a number": (good(scaling=3), f"{A}.scaling", "3", "not a mapping", "mapping of keys"),
    "key of scaling misspelt": (
        good(scaling={"maximum": 3}),
        f"{A}.scaling.maximum",
        "3",
        "not a known key",
        "concurrency, max, min",
    ),
    "concurrency above Cloud Run's": (
        good(scaling={"concurrency": 1001}),
        f"{A}.scaling.concurrency",
        "1001",
        "above 1000",
        "at most 1000",
    ),
    "concurrency above the queue": (
        good(scaling={"concurrency": 20}, limits={"queue": 10}),
        f"{A}.scaling.concurrency",
        "20",
        "answered 429",
        "queue to 20",
    ),
    "CPUs that do not exist": (good(resources={"cpu": 3}), f"{A}.resources.cpu", "3", "no number", "1, 2, 4"),
    "CPUs in quotes": (
        good(resources={"cpu": "2"}),
        f"{A}.resources.cpu",
        '"2"',
        "whole number",
        "quotes: 2",
    ),
    "memory in decimal units": (
        good(resources={"memory": "4GB"}),
        f"{A}.resources.memory",
        '"4GB"',
        "not an amount of memory",
        "4Gi",
    ),
    "memory a number": (good(resources={"memory": 4}), f"{A}.resources.memory", "4", "not text", "in quotes"),
    "memory too small for the model": (
        good(resources={"memory": "1Gi"}),
        f"{A}.resources.memory",
        '"1Gi"',
        "too small (weights",
        "set memory to 3Gi",
    ),
    "memory below Cloud Run's": (
        good(resources={"memory": "256Mi"}),
        f"{A}.resources.memory",
        '"256Mi"',
        "outside 512Mi to 32Gi",
        "3Gi",
    ),
    "memory above Cloud Run's": (
        good(resources={"memory": "64Gi"}),
        f"{A}.resources.memory",
        '"64Gi"',
        "outside 512Mi to 32Gi",
        "3Gi",
    ),
    "too few CPUs for the memory": (
        good(resources={"cpu": 1, "memory": "16Gi"}),
        f"{A}.resources.cpu",
        "1",
        "16Gi of memory needs at least 4",
        "set cpu to 4",
    ),
    "too few CPUs for the model": (
        good(model="google/flan-t5-large", resources={"cpu": 1}),
        f"{A}.resources.cpu",
        "1",
        "5Gi of memory needs at least 2",
        "set cpu to 2",
    ),
    "too little memory for the CPUs": (
        good(resources={"cpu": 8, "memory": "3Gi"}),
        f"{A}.resources.memory",
        '"3Gi"',
        "8 CPUs need at least 4Gi",
        "4Gi",
    ),
    "GPU unknown": (good(resources={"gpu": "l4"}), f"{A}.resources.gpu", '"l4"', "not a valid", "nvidia-l4"),
    "GPU with too few CPUs": (
        good(resources={"gpu": "nvidia-l4", "cpu": 2}),
        f"{A}.resources.cpu",
        "2",
        "nvidia-l4 needs at least 4",
        "set cpu to 4",
    ),
    "GPU with CPUs that do not exist": (
        good(resources={"gpu": "nvidia-l4", "cpu": 5}),
        f"{A}.resources.cpu",
        "5",
        "no number of CPUs",
        "4, 6, 8",
    ),
    "GPU with too little memory": (
        good(resources={"gpu": "nvidia-l4", "memory": "8Gi"}),
        f"{A}.resources.memory",
        '"8Gi"',
        "at least 16Gi",
        "16Gi",
    ),
    "GPU with too much memory": (
        good(resources={"gpu": "nvidia-l4", "memory": "64Gi"}),
        f"{A}.resources.memory",
        '"64Gi"',
        "at most 32Gi",
        "32Gi",
    ),
    "GPU not in the region": (
        {**good(resources={"gpu": "nvidia-l4"}), "gcp:region": "us-west1"},
        f"{A}.resources.gpu",
        "nvidia-l4",
        "not offered by Cloud Run in us-west1",
        "us-central1",
    ),
    "ingress unknown": (good(access={"ingress": "none"}), f"{A}.access.ingress", "none", "valid", "internal"),
    "invoker without kind": (
        good(access={"invokers": ["ada@example.com"]}),
        f"{A}.access.invokers[0]",
        "ada@example.com",
        "not an IAM member",
        "user:ADDRESS",
    ),
    "invokers a text": (
        good(access={"invokers": "allUsers"}),
        f"{A}.access.invokers",
        "allUsers",
        "not a list",
        "write a list",
    ),
    "timeout too long": (
        good(timeoutSeconds=3601),
        f"{A}.timeoutSeconds",
        "3601",
        "above 3600",
        "at most 3600",
    ),
    "timeout with unit": (
        good(timeoutSeconds="300s"),
        f"{A}.timeoutSeconds",
        "300s",
        "whole",
        "whole number",
    ),
    "prompt longer than the context": (
        good(limits={"maxInputTokens": 513}),
        f"{A}.limits.maxInputTokens",
        "513",
        "context of 512",
        "at most 512",
    ),
    "prompt and answer longer than the context": (
        good(model="gpt2", limits={"maxInputTokens": 1000, "maxNewTokens": 100}),
        f"{A}.limits.maxInputTokens",
        "1000",
        "beside 100 new tokens",
        "at most 924",
    ),
    "answer longer than the context": (
        good(model="gpt2", limits={"maxNewTokens": 2000}),
        f"{A}.limits.maxNewTokens",
        "2000",
        "context of 1024",
        "at most 256",
    ),
    "queue zero": (good(limits={"queue": 0}), f"{A}.limits.queue", "0", "below 1", "at least 1"),
    "image unknown": (
        top(llm_images={"server": {}}),
        "llm:images.server",
        None,
        "not an image",
        "mean serve",
    ),
    "image digest cut": (
        top(llm_images={"serve": {"digest": "sha256:abc"}}),
        "llm:images.serve.digest",
        "sha256:abc",
        "not an image digest",
        "64",
    ),
    "image base not pinned": (
        top(llm_images={"serve": {"base": "python"}}),
        "llm:images.serve.base",
        '"python"',
        "not pinned",
        "python:TAG",
    ),
    "image base not a reference": (
        top(llm_images={"serve": {"base": "Python 3"}}),
        "llm:images.serve.base",
        "Python 3",
        "not an image reference",
        "NAME:TAG",
    ),
    "image with digest and base": (
        top(llm_images={"serve": {"digest": f"sha256:{'0' * 64}", "base": "python:3.11"}}),
        "llm:images.serve",
        "digest",
        "needs one of digest and base",
        "give digest",
    ),
    "image a text": (top(llm_images={"serve": "x"}), "llm:images.serve", '"x"', "mapping", "mapping of keys"),
    "label with capitals": (
        top(llm_labels={"team": "Search"}),
        "llm:labels.team",
        '"Search"',
        "not a label's value",
        "write search",
    ),
    "label a number": (top(llm_labels={"cost": 42}), "llm:labels.cost", "42", "not text", 'in quotes: "42"'),
    "label's name illegal": (
        top(llm_labels={"Cost Center": "a"}),
        "llm:labels.Cost Center",
        '"a"',
        "not a label's name",
        "write cost-center",
    ),
    "label reserved": (
        top(llm_labels={"stack": "x"}),
        "llm:labels.stack",
        '"x"',
        "sets itself",
        "another name",
    ),
    "inline model without context": (
        good(model={key: value for key, value in INLINE.items() if key != "context"}),
        f"{A}.model.context",
        None,
        "missing",
        "add context",
    ),
    "inline model with unknown key": (
        inline(licens="MIT"),
        f"{A}.model.licens",
        '"MIT"',
        "not a known key",
        "did you mean licence",
    ),
    "inline shape with unknown key": (
        shaped(dmodel=3),
        f"{A}.model.architecture.dmodel",
        "3",
        "not a known key",
        "did you mean dModel",
    ),
    "inline repository illegal": (
        inline(repository="https://huggingface.co/acme/tiny"),
        f"{A}.model.repository",
        "https",
        "not a Hub repository",
        "OWNER/NAME",
    ),
    "inline family wrong": (
        inline(family="encoder-decoder"),
        f"{A}.model.family",
        "encoder-decoder",
        "does not go with the architecture",
        "write family: decoder",
    ),
    "inline kind unknown": (
        shaped(kind="lama"),
        f"{A}.model.architecture.kind",
        "lama",
        "valid",
        "mean llama",
    ),
    "inline heads uneven": (
        shaped(kvHeads=3),
        f"{A}.model.architecture.kvHeads",
        "3",
        "shared evenly by 4",
        "multiple",
    ),
    "inline encoder of a decoder": (
        shaped(encoderLayers=2),
        f"{A}.model.architecture.encoderLayers",
        "2",
        "kind llama",
        "have none",
    ),
    "inline positions missing": (
        shaped(kind="gpt2"),
        f"{A}.model.architecture.positions",
        None,
        "required for kind gpt2",
        "1024",
    ),
    "inline parameters wrong": (
        inline(parameters=1_000_000),
        f"{A}.model.parameters",
        "1000000",
        "not what the architecture has",
        "leave it out",
    ),
    "inline checkpoint in half precision": (
        inline(checkpointDtype="bfloat16"),
        f"{A}.model.checkpointDtype",
        "bfloat16",
        "cannot be staged",
        "float32",
    ),
    "inline gated without token": (
        inline(gated=True),
        f"{A}.model",
        "acme/tiny",
        "gated and there is no Hub token",
        "llm:hubToken",
    ),
    "inline model far too large": (
        shaped(dModel=8192, dFf=28672, decoderLayers=80, heads=64, kvHeads=8, headDim=128, vocab=128256),
        f"{A}.model",
        "acme/tiny",
        "a Cloud Run instance has at most 32Gi (weights",
        "the smaller model google/flan-t5-large",
    ),
    "inline model too large for the GPU": (
        good(model={**INLINE, "architecture": LLAMA_7B}, resources={"gpu": "nvidia-l4"}),
        f"{A}.resources.gpu",
        "nvidia-l4",
        "and nvidia-l4 has 22.35 GiB",
        "would work: resources.gpu: nvidia-rtx-pro-6000",
    ),
}


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
    assert len(CASES) >= 40


def test_all_faults_are_told_at_once_those_of_the_plan_included(tmp_path: Path) -> None:
    config = {
        "gcp:project": 1,
        "llm:enviroment": "dev",
        "llm:deployments": {
            "a": {"topology": "cloud-run", "model": "gpt3", "scaling": {"min": 4, "mx": 3}},
            "b": {"topology": "vertex", "model": "gpt2"},
            "c": {"topology": "cloud-run", "model": "gpt2", "resources": {"memory": "1Gi"}},
        },
    }
    error = problems(config, tmp_path)
    assert [problem.path for problem in error.problems] == [
        "gcp:project",
        "gcp:region",
        "llm:deployments.a.model",
        "llm:deployments.a.scaling.mx",
        "llm:deployments.b.topology",
        "llm:deployments.c.resources.memory",
        "llm:enviroment",
        "llm:environment",
    ]


def test_a_wrong_resource_is_not_answered_with_the_sizing_of_another_machine(tmp_path: Path) -> None:
    large = {**LLAMA_7B, "decoderLayers": 80}
    config = good(model={**INLINE, "architecture": large}, resources={"gpu": "l4"})
    assert [problem.path for problem in problems(config, tmp_path).problems] == [f"{A}.resources.gpu"]


def test_no_message_shows_a_token_wherever_it_was_written(tmp_path: Path) -> None:
    token = "hf_abcdefghijklmnopqrstuvwxyz"
    config = good(model=token, timeoutSeconds=token)
    config["llm:hubToken"] = token
    config["llm:environment"] = f"dev {token}"
    assert token not in str(problems(config, tmp_path))
