"""What a plan decides, and what a change of configuration changes in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stacks.plan import build
from stacks.plan.batching import batch_of
from stacks.plan.cloud_run import plan_cloud_run
from stacks.plan.profiles import PROFILES
from stacks.plan.tokens import TokenLimits
from stacks.plan.types import CloudRunPlan
from tests.unit.config_sources import TINY, TINY_SHAPE, good, plan, problems


def two(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    both = {"one": {"topology": "cloud-run", **one}, "other": {"topology": "cloud-run", **other}}
    return {**good(), "llm:deployments": both}


def flat(value: Any, path: str = "") -> dict[str, object]:
    """A plan as values by path."""
    if dataclasses.is_dataclass(value):
        parts = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    elif isinstance(value, dict):
        parts = value
    elif isinstance(value, tuple):
        parts = dict(enumerate(value))
    else:
        return {path: value}
    return {k: v for name, part in parts.items() for k, v in flat(part, f"{path}.{name}").items()}


def changed(before: Any, after: Any) -> set[str]:
    one, other = flat(before), flat(after)
    return {path for path in one.keys() | other.keys() if one.get(path) != other.get(path)}


NAMES = (
    ".service_name",
    ".account.account_id",
    ".account.email",
    ".volume.bucket",
    ".weights.job_name",
    ".weights.account.account_id",
    ".staged.bucket",
)
OF_THE_MODEL = {
    ".model",
    ".env.MODEL_PATH",
    ".env.MODEL_NAME",
    ".staged.repository",
    ".staged.revision",
    ".staged.prefix",
    ".staged.uri",
    ".weights.args.2",
    ".weights.args.4",
    ".weights.args.6",
    ".weights.execution_labels.llm-target",
}


@pytest.mark.parametrize(
    ("before", "after", "machine"),
    [
        ("google/flan-t5-small", "google/flan-t5-base", {".memory"}),
        ("google/flan-t5-base", "google/flan-t5-large", {".memory", ".cpu", ".env.THREADS"}),
        (
            "google/flan-t5-base",
            "gpt2",
            {".env.CACHE_TOKENS", ".env.MAX_INPUT_TOKENS"},
        ),
    ],
)
def test_a_switch_of_the_model_changes_what_it_must_and_no_name(
    before: str, after: str, machine: set[str], tmp_path: Path
) -> None:
    one, other = plan(good(model=before), tmp_path), plan(good(model=after), tmp_path)
    assert one.foundation == other.foundation
    assert one.images == other.images
    found = changed(one.deployments["assistant"], other.deployments["assistant"])
    assert {path for path in found if not path.startswith(".sizing")} == OF_THE_MODEL | machine
    assert not found & set(NAMES)


def test_a_switch_back_gives_the_first_plan_again(tmp_path: Path) -> None:
    first = plan(good(model="gpt2"), tmp_path)
    plan(good(model="google/flan-t5-small"), tmp_path)
    assert plan(good(model="gpt2"), tmp_path) == first


def test_no_physical_name_holds_the_model(tmp_path: Path) -> None:
    deployment = plan(good(model="gpt2"), tmp_path).deployments["assistant"]
    values = flat(deployment)
    assert not [name for name in NAMES if "gpt2" in str(values[name])]


def test_removing_one_deployment_changes_no_other(tmp_path: Path) -> None:
    both = plan(two({"model": "gpt2"}, {"model": "google/flan-t5-small"}), tmp_path)
    config = two({"model": "gpt2"}, {})
    del config["llm:deployments"]["other"]
    alone = plan(config, tmp_path)
    assert alone.deployments["one"] == both.deployments["one"]
    assert alone.foundation == both.foundation


def test_two_deployments_of_one_model_share_its_staged_objects_and_keep_them(tmp_path: Path) -> None:
    both = plan(two({"model": "gpt2"}, {"model": "gpt2", "timeoutSeconds": 60}), tmp_path)
    one, other = both.deployments["one"], both.deployments["other"]
    assert one.staged == other.staged
    assert one.staged.retain
    assert one.weights.job_name != other.weights.job_name
    assert one.account != one.weights.account != other.account


def test_weights_that_two_deployments_share_are_kept_even_where_weights_are_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(PROFILES, "dev", dataclasses.replace(PROFILES["dev"], keep_weights=False))
    shared = plan(two({"model": "gpt2"}, {"model": "gpt2"}), tmp_path).deployments
    apart = plan(two({"model": "gpt2"}, {"model": "google/flan-t5-small"}), tmp_path).deployments
    assert [deployment.staged.retain for deployment in shared.values()] == [True, True]
    assert [deployment.staged.retain for deployment in apart.values()] == [False, False]


def test_the_job_is_the_smallest_instance_and_tries_twice(tmp_path: Path) -> None:
    deployment = plan(good(), tmp_path).deployments["assistant"]
    job = deployment.weights
    assert (job.cpu, job.memory, job.max_retries, job.hub_token) == ("1", "512Mi", 1, False)
    assert deployment.staged.timeout_seconds > job.task_timeout_seconds * (job.max_retries + 1)
    assert job.sizing.need_bytes <= job.sizing.have_bytes


def test_the_mount_shows_folders_and_passes_its_options_without_dashes(tmp_path: Path) -> None:
    options = plan(good(), tmp_path).deployments["assistant"].volume.mount_options
    assert "implicit-dirs" in options
    assert not [option for option in options if option.startswith("-")]


def test_the_label_of_an_execution_follows_target_revision_and_repository(tmp_path: Path) -> None:
    def label(**deployment: Any) -> str:
        job = plan(good(**deployment), tmp_path).deployments["assistant"].weights
        return job.execution_labels["llm-target"]

    labels = [label(), label(model="gpt2"), label(revision="b" * 40)]
    assert len(set(labels)) == 3
    assert all(len(found) == 16 and int(found, 16) >= 0 for found in labels)
    assert label() == labels[0]


def test_a_service_is_private_and_without_gpu_unless_asked(tmp_path: Path) -> None:
    deployment = plan(good(), tmp_path).deployments["assistant"]
    assert deployment.invokers == ()
    assert deployment.gpu is None
    assert deployment.cpu_idle


def test_a_gpu_keeps_its_cpu_and_gets_the_longer_time_to_start(tmp_path: Path) -> None:
    deployment = plan(good(resources={"gpu": "nvidia-l4"}), tmp_path).deployments["assistant"]
    assert deployment.gpu is not None
    assert (deployment.gpu.accelerator, deployment.gpu.count) == ("nvidia-l4", 1)
    assert (deployment.cpu, deployment.memory, deployment.cpu_idle) == ("4", "16Gi", False)
    assert deployment.sizing.have_bytes == 24_000_000_000


@pytest.mark.parametrize(
    ("environment", "protected", "force_destroy", "least"),
    [
        ("local", False, True, 0),
        ("dev", False, True, 0),
        ("staging", True, False, 0),
        ("prod", True, False, 1),
    ],
)
def test_an_environment_decides_protection_and_least_instances(
    environment: str, protected: bool, force_destroy: bool, least: int, tmp_path: Path
) -> None:
    found = plan({**good(), "llm:environment": environment}, tmp_path)
    deployment = found.deployments["assistant"]
    assert found.foundation.deletion_protection is protected
    assert deployment.deletion_protection is protected
    assert found.foundation.bucket.force_destroy is force_destroy
    assert deployment.min_instances == least
    assert deployment.staged.retain


def test_the_configured_minimum_wins_over_the_environments(tmp_path: Path) -> None:
    config = {**good(scaling={"min": 0}), "llm:environment": "prod"}
    assert plan(config, tmp_path).deployments["assistant"].min_instances == 0


def test_secret_manager_is_enabled_only_for_a_token(tmp_path: Path) -> None:
    without = plan(good(), tmp_path).foundation
    config = {**good(), "llm:hubTokenSecret": "hub"}
    with_token = plan(config, tmp_path)
    assert without.hub_token is None
    assert set(with_token.foundation.apis) - set(without.apis) == {"secretmanager.googleapis.com"}
    assert with_token.foundation.hub_token is not None
    assert not with_token.foundation.hub_token.create
    assert with_token.deployments["assistant"].weights.hub_token


def test_a_gated_model_is_planned_once_there_is_a_token(tmp_path: Path) -> None:
    config = {**good(model={**TINY, "gated": True}), "llm:hubToken": {"secure": "v1:x"}}
    assert plan(config, tmp_path).deployments["assistant"].weights.hub_token


def test_requests_sent_at_once_equal_the_queue_unless_said(tmp_path: Path) -> None:
    def numbers(**deployment: Any) -> tuple[int, str]:
        found = plan(good(**deployment), tmp_path).deployments["assistant"]
        return found.concurrency, found.env["MAX_QUEUE"]

    assert numbers() == (8, "8")
    assert numbers(limits={"queue": 3}) == (3, "3")
    assert numbers(scaling={"concurrency": 20}) == (20, "20")
    assert numbers(scaling={"concurrency": 2}, limits={"queue": 5}) == (2, "5")


@pytest.mark.parametrize(("zone", "warned"), [("us-central1-z", True), ("us-central1-a", False)])
def test_a_zone_that_nobody_knows_is_warned_of(zone: str, warned: bool, tmp_path: Path) -> None:
    warnings = plan({**good(), "gcp:zone": zone}, tmp_path).warnings
    said = "gcp:zone: us-central1-z is not in the list of zones known here (unconfirmed); us-central1 has"
    assert any(warning.startswith(said) for warning in warnings) == warned


def test_unconfirmed_facts_and_unusual_wishes_are_warned_of(tmp_path: Path) -> None:
    config = good(
        resources={"gpu": "nvidia-rtx-pro-6000", "cpu": 8},
        scaling={"max": 200},
        access={"invokers": ["allUsers"]},
    )
    config["gcp:region"] = "us-cental1"
    warnings = "\n".join(plan(config, tmp_path).warnings)
    assert (
        "google/flan-t5-base: not checked on the Hub: checkpointDtype, checkpointFormat, gated, licence"
        in warnings
    )
    assert "us-cental1 is not in the list of Cloud Run regions known here" in warnings
    assert "did you mean us-central1?" in warnings
    assert "nvidia-rtx-pro-6000 was seen in us-central1 only" in warnings
    assert "at least 20 CPUs (unconfirmed)" in warnings
    assert "200 instances may need more quota" in warnings
    assert "anyone can make this service start instances with a GPU" in warnings


def test_a_load_that_may_outlast_the_startup_window_is_warned_of(tmp_path: Path) -> None:
    shape = {
        **TINY_SHAPE,
        "dModel": 4096,
        "dFf": 11008,
        "decoderLayers": 34,
        "heads": 32,
        "kvHeads": 8,
        "headDim": 128,
        "vocab": 32000,
    }
    model = {**TINY, "architecture": shape, "context": 1024}
    found = plan(good(model=model), tmp_path)
    assert found.deployments["assistant"].startup_probe.failure_threshold * 10 == 600
    assert [warning for warning in found.warnings if "not ready after 600 s" in warning]
    assert not [warning for warning in plan(good(), tmp_path).warnings if "not ready" in warning]


# What checks a finished plan, a slip that it alone finds, and what it says.
SLIPS: dict[str, tuple[Callable[[CloudRunPlan], dict[str, Any]], str]] = {
    "contracts of the images": (lambda _: {"port": 8000}, "is not the port that the other side uses"),
    "contracts of the model": (
        lambda found: {
            "env": {
                **found.env,
                "MAX_INPUT_TOKENS": "513",
                **batch_of(int(found.env["MAX_BATCH"]), TokenLimits(513, 256)).environment(),
            }
        },
        "is more tokens than google/flan-t5-base takes",
    ),
    "rules of Google": (lambda _: {"concurrency": 0}, "is no number of requests that an instance takes"),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_what_is_wrong_with_a_finished_plan_is_told(
    slip: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    change, says = SLIPS[slip]
    right = plan_cloud_run

    def slipped(*given: Any) -> CloudRunPlan:
        found = right(*given)
        assert found is not None
        return dataclasses.replace(found, **change(found))

    monkeypatch.setattr(build, "plan_cloud_run", slipped)
    (problem,) = problems(good(), tmp_path).problems
    assert says in problem.reason


def test_two_deployments_whose_names_collide_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("stacks.plan.naming.service_name", lambda _stack, _deployment: "same")
    error = problems(two({"model": "gpt2"}, {"model": "gpt2"}), tmp_path)
    (problem,) = error.problems
    assert (problem.path, problem.value) == ("llm:deployments.other", "same")
    assert problem.reason == "would be the service of one too"
