"""Where a deployment's weights job runs, on what, and what it is told."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from rehearsal.cloud.discovery import Api
from stacks.plan import runners
from stacks.plan.hardware import TOPOLOGIES, compute_machines
from stacks.plan.limits import vertex_limits
from stacks.plan.profiles import PROFILES
from stacks.plan.report import Report
from stacks.plan.types import CloudRunPlan, StackPlan
from stacks.plan.types_weights import VertexMachinePlan
from tests.unit.config_sources import good, problems
from tests.unit.recorded_plan import planned


def assistant(config: dict[str, Any], folder: Path) -> CloudRunPlan:
    return planned(config, folder).deployments["assistant"]


def test_every_topology_has_a_default_that_it_can_have() -> None:
    assert dict(runners.DEFAULTS) == {
        "cloud-run": "cloud-run",
        "vertex": "vertex",
        "dataflow": "cloud-run",
        "training": "vertex",
        "gke-tpu": "kubernetes",
    }
    for topology in TOPOLOGIES:
        report = Report()
        chosen = runners.choose_runner(None, topology, "us-central1", "path", report)
        assert (chosen, report.problems) == (runners.DEFAULTS[topology], [])


@pytest.mark.parametrize("topology", [each for each in TOPOLOGIES if each != "gke-tpu"])
def test_a_topology_without_a_cluster_runs_nothing_in_one(topology: str) -> None:
    report = Report()
    assert runners.choose_runner("kubernetes", topology, "us-central1", "path", report) != "kubernetes"
    (problem,) = report.problems
    assert problem.path == "path.weights.runner"
    assert f"topology {topology} has none" in problem.reason


def test_a_deployment_on_cloud_run_is_staged_by_a_cloud_run_job(tmp_path: Path) -> None:
    job = assistant(good(), tmp_path).weights
    assert (job.runner, job.vertex, job.cpu, job.memory) == ("cloud-run", None, "1", "512Mi")
    assert job.max_retries == 1


def test_vertex_gets_its_cheapest_machine_and_that_holds_the_job_beside_its_own_agents(
    tmp_path: Path,
) -> None:
    plan = assistant(good(weights={"runner": "vertex"}), tmp_path)
    job = plan.weights
    assert job.vertex == VertexMachinePlan("e2-highmem-2", 100, "pd-standard")
    assert (job.cpu, job.memory) == ("2", "16Gi")
    assert [line.what for line in job.sizing.lines] == ["pipeline", "system"]
    assert job.sizing.lines[1].bytes == compute_machines()["e2-highmem-2"].memory_bytes * 40 // 100
    assert job.sizing.need_bytes <= job.sizing.have_bytes
    cheaper = [
        one.name
        for one in compute_machines().values()
        if one.vertex_training and one.hourly_usd and one.hourly_usd.value < 0.09
    ]
    assert cheaper == []
    assert plan.staged.timeout_seconds > job.task_timeout_seconds
    assert job.max_retries == 0


def test_only_the_apis_that_the_jobs_need_are_enabled(tmp_path: Path) -> None:
    def apis(**weights: str) -> StackPlan:
        folder = tmp_path / "-".join(weights.values() or ["none"])
        folder.mkdir()
        return planned(good(weights=weights), folder)

    assert "aiplatform.googleapis.com" not in apis().foundation.apis
    assert "aiplatform.googleapis.com" in apis(runner="vertex").foundation.apis


@pytest.mark.parametrize(
    ("token", "reference"),
    [
        ({"llm:hubTokenSecret": "shared"}, "projects/acme-ml-dev/secrets/shared/versions/latest"),
        ({"llm:hubTokenSecret": "projects/o/secrets/s"}, "projects/o/secrets/s/versions/latest"),
        (
            {"llm:hubToken": {"secure": "v1:x:y"}},
            "projects/acme-ml-dev/secrets/dev-hub-token/versions/latest",
        ),
    ],
)
def test_a_custom_job_is_told_where_the_token_is_and_a_cloud_run_job_is_given_it(
    token: dict[str, Any], reference: str, tmp_path: Path
) -> None:
    config = {**good(weights={"runner": "vertex"}), **token}
    assert assistant(config, tmp_path).weights.env == {"HF_TOKEN_SECRET": reference}
    here = tmp_path / "run"
    here.mkdir()
    assert assistant({**good(), **token}, here).weights.env == {}


def test_weights_staged_in_another_element_type_lie_elsewhere_and_are_half_as_large(tmp_path: Path) -> None:
    folders = [tmp_path / "own", tmp_path / "half"]
    for folder in folders:
        folder.mkdir()
    own = assistant(good(model="google/flan-t5-large"), folders[0])
    half = assistant(good(model="google/flan-t5-large", weights={"dtype": "bfloat16"}), folders[1])
    assert own.staged.uri.endswith("safetensors-float32")
    assert half.staged.uri.endswith("safetensors-bfloat16")
    assert half.weights.args[-1] == "bfloat16"
    assert half.weights.task_timeout_seconds == own.weights.task_timeout_seconds, "it is downloaded as it is"
    assert half.startup_probe.failure_threshold <= own.startup_probe.failure_threshold
    assert half.weights.execution_labels != own.weights.execution_labels


def test_an_element_type_that_only_makes_the_weights_larger_is_warned_of(tmp_path: Path) -> None:
    shape = {
        **good()["llm:deployments"]["assistant"],
        "model": "google/flan-ul2",
        "resources": {"gpu": "nvidia-rtx-pro-6000"},
        "weights": {"dtype": "float32"},
    }
    config = {**good(), "llm:deployments": {"assistant": shape}}
    plan = planned(config, tmp_path)
    assert any("weights.dtype: float32 makes the weights larger" in warning for warning in plan.warnings)


def test_two_deployments_share_a_place_only_in_the_same_element_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgetful = dataclasses.replace(PROFILES["dev"], keep_weights=False)
    monkeypatch.setitem(PROFILES, "dev", forgetful)

    def retained(second: dict[str, str]) -> list[bool]:
        folder = tmp_path / (second.get("dtype") or "own")
        folder.mkdir()
        base = good()["llm:deployments"]["assistant"]
        deployments = {"one": base, "two": {**base, "weights": second}}
        config = {**good(), "llm:deployments": deployments}
        return [each.staged.retain for each in planned(config, folder).deployments.values()]

    assert retained({}) == [True, True]
    assert retained({"dtype": "bfloat16"}) == [False, False]


def test_a_wrong_weights_block_is_the_only_thing_that_is_told(tmp_path: Path) -> None:
    found = problems(good(weights={"runner": "kubernetes"}), tmp_path).problems
    assert [each.path for each in found] == ["llm:deployments.assistant.weights.runner"]


def test_the_regions_are_those_in_which_google_says_that_the_api_has_an_address() -> None:
    named = {each for each in Api("aiplatform.v1").locations if "-" in each}
    assert set(vertex_limits().regions.value) == named
