"""A plan gives each container what its contract says that it reads, and a plan that does not is found out."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from stacks.config import from_stack_file
from stacks.plan import build_plan, contract_models, contracts
from stacks.plan.catalog import resolve_model
from stacks.plan.contracts import check_contracts, check_model_contracts, serve_contract, weights_contract
from stacks.plan.report import Report
from stacks.plan.spec import ModelSpec
from stacks.plan.types import CloudRunPlan, StackPlan
from tests.unit.config_sources import TINY, good, plan
from tests.unit.gke_stacks import stack
from tests.unit.plan_evidence import Change, deployment, inside
from tests.unit.recorded_plan import configurations, planned

ROOT = Path(__file__).parents[2]


def with_deployment(found: StackPlan, **changes: Any) -> StackPlan:
    deployment = dataclasses.replace(found.deployments["assistant"], **changes)
    return dataclasses.replace(found, deployments={"assistant": deployment})


def break_contract(deployment: CloudRunPlan, how: str) -> dict[str, Any]:
    """Changes that leave a container without what it reads."""
    env, job, args = dict(deployment.env), deployment.weights, deployment.weights.args
    replace = dataclasses.replace
    staged = deployment.staged
    changes: dict[str, dict[str, Any]] = {
        "MODEL_PATH": {"env": {**env, "MODEL_PATH": "/mnt/models/other"}},
        "is read and not given": {"env": {k: v for k, v in env.items() if k != "THREADS"}},
        "is given and not read": {"env": {**env, "BUCKET": "x"}},
        "port that": {"port": 8000},
        "mount path": {"volume": replace(deployment.volume, mount_path="/mnt/gcs")},
        "mounted bucket": {"volume": replace(deployment.volume, bucket="another")},
        "probed and not answered": {"startup_probe": replace(deployment.startup_probe, path="/healthz")},
        "probed and not listened on": {"liveness_probe": replace(deployment.liveness_probe, port=80)},
        "--dtype": {"weights": replace(job, args=(*args[:-1], "float16"))},
        "job command": {"weights": replace(job, args=("download", *args[1:]))},
        "job arguments": {"weights": replace(job, args=(*args, "--force", "yes"))},
        "job environment": {"weights": replace(job, env={"TOKEN": "x"})},
        "does not have": {"image": "torchserve"},
        "staged address": {"staged": replace(staged, uri="gs://elsewhere/x")},
        "MODEL_NAME": {"env": {**env, "MODEL_NAME": "gpt2"}},
        "THREADS that": {"env": {**env, "THREADS": "64"}},
        "DTYPE that": {"env": {**env, "DTYPE": "float16"}},
        "no engine of this version": {"engine": "beam"},
        "no topology that transformers": {"topology": "dataflow"},
        "no format that transformers": {"staged": replace(staged, format="mar")},
        "no format of staged": {"staged": replace(staged, format="onnx")},
        "no element type that transformers": {"dtype": "int8"},
        "no element type of weights staged as safetensors": {"staged": replace(staged, dtype="int8")},
        "does not say what is staged": {"staged": replace(staged, revision="f" * 40)},
        "less time than": {"staged": replace(staged, timeout_seconds=60)},
        "no label that finds": {"weights": replace(job, execution_labels={})},
        "too small for the service": {"sizing": replace(deployment.sizing, have_bytes=1)},
        "too small for the job": {"weights": replace(job, sizing=replace(job.sizing, have_bytes=1))},
        "above MAX_QUEUE (8), so": {"concurrency": 1000},
        "ENGINE that": {"env": {**env, "ENGINE": "ctranslate2"}},
        "the image that": {"image": "weights"},
        "more in REQUEST_SECONDS": {"env": {**env, "REQUEST_SECONDS": str(deployment.timeout_seconds)}},
        "more in GRACE_SECONDS": {"env": {**env, "GRACE_SECONDS": "11"}},
        "no number for REQUEST_SECONDS": {"env": {**env, "REQUEST_SECONDS": "long"}},
        "no number for MAX_BATCH_TOKENS": {"env": {**env, "MAX_BATCH_TOKENS": "all"}},
        "not the MAX_BATCH_TOKENS that": {"env": {**env, "MAX_BATCH_TOKENS": "16384"}},
        "not the CACHE_TOKENS that": {"env": {**env, "CACHE_TOKENS": "16384"}},
        "above MAX_QUEUE (4) in MAX_BATCH": {"env": {**env, "MAX_QUEUE": "4"}, "concurrency": 4},
    }
    return changes[how]


def test_a_built_plan_keeps_every_contract(tmp_path: Path) -> None:
    found = plan(good(), tmp_path)
    assert check_contracts(found) == []
    deployment = found.deployments["assistant"]
    assert {k for k, v in serve_contract().environment.items() if v.required} <= set(deployment.env)
    assert deployment.startup_probe.path == serve_contract().routes["ready"].path


HOW = [
    "MODEL_PATH",
    "is read and not given",
    "is given and not read",
    "port that",
    "mount path",
    "mounted bucket",
    "probed and not answered",
    "probed and not listened on",
    "--dtype",
    "job command",
    "job arguments",
    "job environment",
    "does not have",
    "staged address",
    "MODEL_NAME",
    "THREADS that",
    "DTYPE that",
    "no engine of this version",
    "no topology that transformers",
    "no format that transformers",
    "no format of staged",
    "no element type that transformers",
    "no element type of weights staged as safetensors",
    "does not say what is staged",
    "less time than",
    "no label that finds",
    "too small for the service",
    "too small for the job",
    "above MAX_QUEUE (8), so",
    "ENGINE that",
    "the image that",
    "more in REQUEST_SECONDS",
    "more in GRACE_SECONDS",
    "no number for REQUEST_SECONDS",
    "no number for MAX_BATCH_TOKENS",
    "not the MAX_BATCH_TOKENS that",
    "not the CACHE_TOKENS that",
    "above MAX_QUEUE (4) in MAX_BATCH",
]


@pytest.mark.parametrize("how", HOW)
def test_a_plan_that_breaks_a_contract_is_found_out(how: str, tmp_path: Path) -> None:
    found = plan(good(), tmp_path)
    changes = break_contract(found.deployments["assistant"], how)
    broken = check_contracts(with_deployment(found, **changes))
    assert any(how in f"{problem.path} {problem.value} {problem.reason}" for problem in broken)


ON_TPU: dict[str, Change] = {
    "is an image that the plan does not have": inside("weights", image="torchserve"),
    "is not the job command that the other side uses": deployment(
        weights=lambda job: dataclasses.replace(job, args=("download", *job.args[1:]))
    ),
    "is no engine of this version": deployment(engine="unheard-of"),
    "has no label that finds its execution": inside("weights", execution_labels={}),
    "is too small for the service": deployment(sizing=lambda sum_: dataclasses.replace(sum_, have_bytes=1)),
    "is a namespace that nothing makes": deployment(
        objects=lambda objects: tuple(each for each in objects if each.kind != "Namespace")
    ),
}
"""Ways to break a plan for TPUs, by the only thing that is then told."""


@pytest.mark.parametrize("reason", ON_TPU)
def test_a_plan_for_tpus_that_breaks_a_contract_is_found_out(reason: str, tmp_path: Path) -> None:
    broken = ON_TPU[reason](plan(stack(engine="vllm-tpu"), tmp_path))
    assert [problem.reason for problem in check_contracts(broken)] == [reason]


def test_an_import_that_is_not_told_where_from_is_found_out(tmp_path: Path) -> None:
    found = plan(stack(weights={"source": "gs://acme-uploads/llama"}), tmp_path)
    args = found.deployments["llama"].weights.args
    at = args.index("--source")
    (problem,) = check_contracts(inside("weights", args=(*args[:at], *args[at + 2 :]))(found))
    assert (problem.path, problem.value) == ("llm:deployments.llama job arguments", "--source")
    assert problem.reason == "is read and not given"


def small(**more: Any) -> ModelSpec:
    return ModelSpec.model_validate({**TINY, **more})


def with_env(found: StackPlan, **variables: str) -> StackPlan:
    return with_deployment(found, env={**found.deployments["assistant"].env, **variables})


def test_a_model_that_gets_what_it_can_take_is_accepted(tmp_path: Path) -> None:
    found = plan(good(model=TINY), tmp_path)
    assert check_model_contracts(found, {"assistant": small()}) == []


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"MAX_INPUT_TOKENS": "200", "MAX_NEW_TOKENS": "57"}, "257"),
        ({"MAX_INPUT_TOKENS": "many"}, "no number for MAX_INPUT_TOKENS"),
        ({"MAX_NEW_TOKENS": "0"}, "no number for MAX_NEW_TOKENS"),
    ],
)
def test_more_tokens_than_the_context_has_are_found_out(
    variables: dict[str, str], says: str, tmp_path: Path
) -> None:
    found = with_env(plan(good(model=TINY), tmp_path), **variables)
    (problem,) = check_model_contracts(found, {"assistant": small()})
    assert says in f"{problem.value} {problem.reason}"


def test_prompt_and_answer_of_an_encoder_decoder_each_have_the_whole_context(tmp_path: Path) -> None:
    found = plan(good(), tmp_path)
    model = resolve_model("google/flan-t5-base", None, "", Report())
    assert model is not None
    full = with_env(found, MAX_INPUT_TOKENS=str(model.context), MAX_NEW_TOKENS=str(model.context))
    assert check_model_contracts(full, {"assistant": model}) == []
    more = with_env(found, MAX_INPUT_TOKENS=str(model.context + 1))
    assert check_model_contracts(more, {"assistant": model}) != []


def test_a_gated_model_whose_job_gets_no_token_is_found_out(tmp_path: Path) -> None:
    token = {"llm:hubTokenSecret": "hub-token"}
    found = plan({**good(model={**TINY, "gated": True}), **token}, tmp_path)
    models = {"assistant": small(gated=True)}
    assert check_model_contracts(found, models) == []
    job = dataclasses.replace(found.deployments["assistant"].weights, hub_token=False)
    for broken in (
        with_deployment(found, weights=job),
        dataclasses.replace(found, foundation=dataclasses.replace(found.foundation, hub_token=None)),
    ):
        (problem,) = check_model_contracts(broken, models)
        assert "its job gets no Hub token" in problem.reason


def test_an_image_that_looks_for_another_manifest_is_found_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = plan(good(), tmp_path)
    other = serve_contract().model_copy(update={"manifest": "files.json"})
    monkeypatch.setattr(contracts, "serve_contract", lambda: other)
    (problem,) = check_contracts(found)
    assert problem.value == "files.json"
    assert problem.reason == "is not the manifest that the other side uses"


def test_a_token_that_the_weights_image_does_not_read_is_found_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = plan({**good(model={**TINY, "gated": True}), "llm:hubTokenSecret": "hub-token"}, tmp_path)
    deaf = weights_contract().model_copy(update={"environment": {}})
    monkeypatch.setattr(contract_models, "weights_contract", lambda: deaf)
    (problem,) = check_model_contracts(found, {"assistant": small(gated=True)})
    assert (problem.path, problem.value) == ("llm:deployments.assistant.model", "HF_TOKEN")
    assert problem.reason == "is given and not read"


@pytest.mark.parametrize("path", sorted(ROOT.glob("Pulumi.*.yaml")), ids=lambda path: path.name)
def test_every_deployment_of_every_stack_file_keeps_every_contract(path: Path) -> None:
    found = build_plan(from_stack_file(path))
    assert found.deployments
    assert check_contracts(found) == []


@settings(max_examples=15, deadline=None, derandomize=True)
@given(config=configurations())
def test_every_deployment_that_can_be_configured_keeps_every_contract(config: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert check_contracts(planned(config, Path(folder))) == []
