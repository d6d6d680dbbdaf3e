"""What the resources of Vertex AI refuse by themselves, by the name of the input."""

from __future__ import annotations

from typing import Any

import pytest

from providers.base.values import UNKNOWN, Secret
from providers.modelops.vertexai import metrics
from providers.modelops.vertexai.names import deployed_id, given_name, shown_name
from providers.modelops.vertexai.operations import Operation, explained
from providers.modelops.vertexai.traffic import moved, without
from tests.unit.vertexai import DEPLOYMENT, JOB, LOCATION, MODEL, PLACE, Engine, with_args

PIPELINE = {
    **PLACE,
    "runId": "train-1",
    "displayName": "Train",
    "template": {"pipelineInfo": {"name": "p"}, "root": {}},
    "pipelineRoot": "gs://bucket/runs",
}
SPEC = MODEL["containerSpec"]
POOL = JOB["jobSpec"]["workerPoolSpecs"][0]


def reasons(kind: str, inputs: dict[str, Any]) -> dict[str, str]:
    return Engine(kind).check(inputs)[1]


@pytest.mark.parametrize(
    ("change", "path", "says"),
    [
        ({"modelId": "9lives"}, "modelId", "a letter or _ first"),
        ({"displayName": "x" * 129}, "displayName", "at most 128"),
        ({"versionAliases": ["ok", "1"]}, "versionAliases[1]", "is not an alias"),
        ({"artifactUri": "/models"}, "artifactUri", "is not gs://BUCKET/PREFIX"),
        ({"labels": {"Stack": "dev"}}, "labels.Stack", "pattern"),
        ({"labels": {"llm-urn": "x"}}, "labels", "llm-urn is set by the provider itself"),
        ({"metrics": {"loss": float("nan")}}, "metrics.loss", "is not a finite number"),
        ({"metrics": {"Loss": 1.0, "loss": 2.0}}, "metrics", "differ only in what a label cannot hold"),
        ({"metrics": {"l" * 60: 1.0}}, "metrics", "longer than the 63"),
        ({"metrics": {"a": 1}, "labels": {"metric-a": "2"}}, "labels", "is the label of a metric"),
        ({"colour": "red"}, "colour", "is no input of Model"),
        (
            {"containerSpec": {**SPEC, "imageUri": "docker.io/x"}},
            "containerSpec.imageUri",
            "Artifact Registry",
        ),
        ({"containerSpec": {**SPEC, "ports": [0]}}, "containerSpec.ports[0]", "greater than or equal to 1"),
        ({"containerSpec": {**SPEC, "predictRoute": "p"}}, "containerSpec.predictRoute", "begins with /"),
        ({"containerSpec": {**SPEC, "env": {"1X": "y"}}}, "containerSpec.env.1X", "pattern"),
        (
            {"containerSpec": {**SPEC, "deploymentTimeoutSeconds": 7201}},
            "containerSpec.deploymentTimeoutSeconds",
            "less than or equal to 7200",
        ),
        ({"containerSpec": {**SPEC, "startupProbe": {}}}, "containerSpec.startupProbe", "exactly one of"),
    ],
)
def test_a_model_is_refused_by_the_name_of_what_is_wrong(
    change: dict[str, Any], path: str, says: str
) -> None:
    found = reasons("Model", {**MODEL, **change})
    assert list(found) == [path]
    assert says in found[path]


@pytest.mark.parametrize(
    ("change", "path", "says"),
    [
        ({"endpoint": "a/b"}, "endpoint", "is not an endpoint's id or full name"),
        ({"model": "gpt2"}, "model", "is not projects/PROJECT/locations/LOCATION/models/MODEL@VERSION"),
        ({"acceleratorType": "nvidia-l4", "acceleratorCount": 1}, "acceleratorType", "NVIDIA_L4"),
        ({"acceleratorType": "NVIDIA_L4"}, "acceleratorCount", "goes with acceleratorType"),
        (
            {"machineType": "ct5lp-hightpu-4t", "acceleratorType": "TPU_V5_LITEPOD", "acceleratorCount": 4},
            "acceleratorType",
            "has its chips in its name",
        ),
        ({"minReplicas": 0, "maxReplicas": 1}, "minReplicas", "greater than or equal to 1"),
        ({"minReplicas": 3, "maxReplicas": 2}, "maxReplicas", "is less than minReplicas"),
        ({"trafficSteps": [10, 50]}, "trafficSteps", "the last is 100"),
        ({"trafficSteps": [50, 10, 100]}, "trafficSteps", "the steps grow"),
        ({"autoscaling": {"x/cpu/utilization": 101}}, "autoscaling", "is a percentage"),
        ({"serviceAccount": "me"}, "serviceAccount", "is not a service account's e-mail address"),
    ],
)
def test_a_deployment_is_refused_by_the_name_of_what_is_wrong(
    change: dict[str, Any], path: str, says: str
) -> None:
    found = reasons("ModelDeployment", {**DEPLOYMENT, **change})
    assert list(found) == [path]
    assert says in found[path]


def test_jobs_and_runs_are_refused_by_the_name_of_what_is_wrong() -> None:
    two = {**JOB["jobSpec"], "workerPoolSpecs": [{**POOL, "replicaCount": 2}]}
    assert (
        "the first pool has one machine"
        in reasons("CustomJob", {**JOB, "jobSpec": two})["jobSpec.workerPoolSpecs"]
    )
    bare = {**JOB["jobSpec"], "workerPoolSpecs": [{**POOL, "machineSpec": {}}]}
    path = "jobSpec.workerPoolSpecs[0].machineSpec.machineType"
    assert reasons("CustomJob", {**JOB, "jobSpec": bare}) == {path: "is required"}
    assert reasons("PipelineRun", PIPELINE) == {}
    assert "neither a compiled pipeline" in reasons("PipelineRun", {**PIPELINE, "template": {}})["template"]
    assert "a letter first" in reasons("PipelineRun", {**PIPELINE, "runId": "1"})["runId"]
    billed = {**PIPELINE, "labels": {"vertex-ai-pipelines-run-billing-id": "1"}}
    assert reasons("PipelineRun", billed)["labels"].endswith("-billing-id is set by Vertex AI itself")


def test_what_is_unknown_yet_is_no_mistake_and_what_is_known_beside_it_still_is() -> None:
    spec = {**SPEC, "imageUri": UNKNOWN, "ports": [70000]}
    assert list(reasons("Model", {**MODEL, "containerSpec": spec})) == ["containerSpec.ports[0]"]
    assert reasons("ModelDeployment", {**DEPLOYMENT, "model": UNKNOWN, "endpoint": UNKNOWN}) == {}
    assert reasons("Model", {**MODEL, "containerSpec": {**SPEC, "env": {"KEY": Secret("x")}}}) == {}


def test_what_is_secret_is_refused_without_being_told() -> None:
    spec = {**SPEC, "env": {"A": Secret(1234), "B": 5678}, "imageUri": Secret("hunter2")}
    found = reasons("Model", {**MODEL, "containerSpec": spec})
    assert found["containerSpec.env.A"] == "input should be a valid string, got Secret(…)"
    assert found["containerSpec.env.B"] == "input should be a valid string, got 5678"
    assert found["containerSpec.imageUri"].startswith("Secret(…) is not an image")
    inside = {**MODEL, "labels": {"a": Secret("hunter2")}, "metrics": [Secret("hunter2")]}
    assert "hunter2" not in str(reasons("Model", inside))


def test_inputs_are_kept_in_one_form() -> None:
    news, _ = Engine("ModelDeployment").check({**DEPLOYMENT, "minReplicas": 2})
    assert news["endpoint"] == f"{LOCATION}/endpoints/1234567890"
    assert (news["maxReplicas"], news["trafficSteps"], news["spot"]) == (2, [100], False)
    job, _ = Engine("CustomJob").check(with_args("exit", "0"))
    assert job["jobSpec"]["workerPoolSpecs"][0]["replicaCount"] == 1
    assert job["wait"] is True
    assert Engine("PipelineRun").check(PIPELINE)[0]["wait"] is False


@pytest.mark.parametrize("value", [0, 41, 41.25, -1.5, 1e-05, 1e20, 0.1, None])
def test_a_metric_survives_as_a_label(value: float | None) -> None:
    labels = metrics.to_labels({"eval/rougeL": value})
    assert all(char in "abcdefghijklmnopqrstuvwxyz0123456789_-" for char in labels["metric-eval_rougel"])
    assert metrics.from_labels({**labels, "stack": "dev"}, ["eval/rougeL"]) == (
        {"eval/rougeL": value},
        {"stack": "dev"},
    )


def test_a_label_that_only_begins_like_a_metric_is_none() -> None:
    assert metrics.from_labels({"metric-x": "high"}) == ({}, {"metric-x": "high"})


def test_traffic_moves_from_those_that_have_it_in_proportion() -> None:
    assert moved({}, "new", 10) == {"new": 100}
    assert moved({"old": 100}, "new", 10) == {"old": 90, "new": 10}
    assert moved({"old": 90, "new": 10}, "new", 100) == {"new": 100}
    split = moved({"a": 67, "b": 33}, "new", 35)
    assert (sum(split.values()), split["new"], split["a"] > split["b"]) == (100, 35, True)
    assert without({"a": 50, "b": 30, "c": 20}, "a") == {"b": 60, "c": 40}
    assert without({"a": 100}, "a") == {}


def test_an_id_follows_from_the_resource_and_what_it_deploys() -> None:
    one = deployed_id("urn:a", {"machine": "x"})
    assert one == deployed_id("urn:a", {"machine": "x"})
    assert len({one, deployed_id("urn:b", {"machine": "x"}), deployed_id("urn:a", {"machine": "y"})}) == 3
    assert (len(one), one.isdecimal(), one[0] != "0") == (10, True, True)
    assert given_name(shown_name("assistant", "urn:a")) == "assistant"
    assert given_name("by-hand") == "by-hand"


def test_an_operation_says_what_it_does_now() -> None:
    metadata = {"deploymentStage": "STARTING_MODEL_SERVER"}
    assert Operation.of({"name": "o", "metadata": metadata}).message == "starting model server"


@pytest.mark.parametrize(
    ("code", "message", "says"),
    [
        (8, "The following quotas are exceeded: CustomModelServingL4GPUs", "ask for more of it"),
        (8, "Resources are insufficient in region us-central1.", "another machine or region"),
        (14, "", "another machine or region"),
        (1, "CANCELLED", "was cancelled; run `pulumi up` again"),
        (3, "Model server never became ready.", "Model server never became ready"),
    ],
)
def test_why_an_operation_failed_comes_with_what_to_do(code: int, message: str, says: str) -> None:
    failed = Operation.of({"name": "o", "done": True, "error": {"code": code, "message": message}})
    assert says in explained(failed)
