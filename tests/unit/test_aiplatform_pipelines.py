"""Pipeline jobs and metadata stores of the rehearsed Vertex AI, as Google's own client sees them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from googleapiclient.errors import HttpError

from rehearsal.cloud.aiplatform.pipeline_runs import RUN
from rehearsal.world import Fault
from tests.unit.aiplatform_world import Vertex, emptied, started
from tests.unit.cloud_world import ACCOUNT, BUCKET, IMAGE, LOCATION, Running

_ROOT = f"gs://{BUCKET}/pipelines"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with started(tmp_path_factory.mktemp("vertex")) as cloud:
        yield cloud


@pytest.fixture
def vertex(running: Running) -> Iterator[Vertex]:
    made = Vertex(running)
    yield made
    emptied(running, made.api.projects().locations())


def pipeline(*commands: list[str], **parameters: Any) -> dict[str, Any]:
    """A compiled pipeline whose tasks run one after the other; the parameter `seconds` has a default."""
    tasks, components, executors = {}, {}, {}
    for index, args in enumerate(commands):
        name = f"step-{index}"
        tasks[name] = {
            "componentRef": {"name": name},
            "taskInfo": {"name": name},
            "inputs": {"parameters": {"seconds": {"componentInputParameter": "seconds"}}},
            "dependentTasks": [f"step-{index - 1}"] if index else [],
        }
        components[name] = {"executorLabel": name}
        executors[name] = {"container": {"image": IMAGE, "args": args}}
    # Not in the order in which they have to run.
    root = {
        "dag": {"tasks": dict(reversed(tasks.items()))},
        "inputDefinitions": {
            "parameters": {"seconds": {"parameterType": "STRING", "defaultValue": "0"}, **parameters}
        },
    }
    spec = {"pipelineInfo": {"name": "train"}, "root": root, "components": components}
    return {**spec, "schemaVersion": "2.1.0", "deploymentSpec": {"executors": executors}}


def body(spec: dict[str, Any], **values: Any) -> dict[str, Any]:
    runtime = {"gcsOutputDirectory": _ROOT, "parameterValues": values}
    labels = {"env": "dev"}
    return {
        "displayName": "train",
        "pipelineSpec": spec,
        "runtimeConfig": runtime,
        "serviceAccount": ACCOUNT,
        "labels": labels,
    }


def create(vertex: Vertex, given: dict[str, Any], id: str | None = None) -> dict[str, Any]:
    made: dict[str, Any] = vertex.pipelines.create(parent=LOCATION, body=given, pipelineJobId=id).execute()
    return made


def ended(vertex: Vertex, name: str) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while "endTime" not in (found := vertex.pipelines.get(name=name).execute()):
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return dict(found)


def states(found: dict[str, Any]) -> dict[str, str]:
    return {each["taskName"]: each["state"] for each in found["jobDetail"]["taskDetails"]}


def refusal(request: Any) -> tuple[int, str]:
    with pytest.raises(HttpError) as caught:
        request.execute()
    return int(caught.value.resp.status), str(caught.value.reason)


def test_a_pipeline_runs_its_tasks_in_order_and_is_found_by_its_id(vertex):
    seconds = "{{$.inputs.parameters['seconds']}}"
    made = create(vertex, body(pipeline(["sleep", seconds], ["exit", "0"]), seconds="0.5"), "run-1")
    assert made["name"].endswith("/pipelineJobs/run-1")
    found = ended(vertex, made["name"])
    assert found["state"] == "PIPELINE_STATE_SUCCEEDED"
    assert states(found) == {"step-0": "SUCCEEDED", "step-1": "SUCCEEDED"}
    first, second = found["jobDetail"]["taskDetails"]
    assert first["endTime"] <= second["startTime"]
    another = body(pipeline(["exit", "0"]))
    again = vertex.pipelines.create(parent=LOCATION, body=another, pipelineJobId="run-1")
    assert refusal(again)[0] == 409
    wanted = 'pipeline_name="train" AND labels.env=dev AND state="PIPELINE_STATE_SUCCEEDED"'
    (listed,) = vertex.pipelines.list(parent=LOCATION, filter=wanted).execute()["pipelineJobs"]
    assert (listed["name"], "jobDetail" in listed) == (found["name"], False)
    vertex.finish(vertex.pipelines.delete(name=found["name"]))
    assert refusal(vertex.pipelines.get(name=found["name"]))[0] == 404


def test_a_task_that_fails_ends_its_pipeline_and_says_why(vertex):
    found = ended(vertex, create(vertex, body(pipeline(["exit", "3"], ["exit", "0"])))["name"])
    assert found["state"] == "PIPELINE_STATE_FAILED"
    assert states(found) == {"step-0": "FAILED"}
    assert "The failed tasks are: [step-0]" in found["error"]["message"]
    assert "exit code 3" in found["error"]["message"]
    vertex.world.faults.add(Fault("stockout", operation=RUN))
    found = ended(vertex, create(vertex, body(pipeline(["exit", "0"])))["name"])
    assert "ZONE_RESOURCE_POOL_EXHAUSTED" in found["error"]["message"]


def test_a_pipeline_that_runs_is_cancelled_and_only_then_deleted(vertex):
    name = create(vertex, body(pipeline(["sleep", "60"])))["name"]
    assert refusal(vertex.pipelines.delete(name=name))[0] == 400
    vertex.pipelines.cancel(name=name, body={}).execute()
    found = ended(vertex, name)
    assert (found["state"], found["error"]["code"]) == ("PIPELINE_STATE_CANCELLED", 1)
    assert refusal(vertex.pipelines.cancel(name=name, body={}))[0] == 400


def test_a_pipeline_that_cannot_run_is_refused_with_its_reason(vertex):
    def create_refused(given: dict[str, Any], id: str | None = None) -> str:
        status, reason = refusal(vertex.pipelines.create(parent=LOCATION, body=given, pipelineJobId=id))
        assert status in (400, 501)
        return reason

    good = pipeline(["exit", "0"])
    assert "mode is not a parameter" in create_refused(body(good, mode="x"))
    without_default = pipeline(["exit", "0"], mode={"parameterType": "STRING"})
    assert "mode is not set" in create_refused(body(without_default))
    assert "has no tasks" in create_refused(body({"root": {}}))
    assert "gcsOutputDirectory" in create_refused({**body(good), "runtimeConfig": {}})
    assert "does not match" in create_refused(body(good), "Run_1")
    circle = pipeline(["exit", "0"])
    circle["root"]["dag"]["tasks"]["step-0"]["dependentTasks"] = ["step-0"]
    assert "circle" in create_refused(body(circle))
    assert vertex.pipelines.list(parent=LOCATION).execute()["pipelineJobs"] == []


def test_a_metadata_store_is_made_found_and_deleted(vertex):
    given = {"parent": LOCATION, "metadataStoreId": "dev_assistant", "body": {"description": "d"}}
    made = vertex.response(vertex.stores.create(**given))
    assert made["name"].endswith("/metadataStores/dev_assistant")
    assert refusal(vertex.stores.create(**given))[0] == 409
    (listed,) = vertex.stores.list(parent=LOCATION).execute()["metadataStores"]
    assert listed["description"] == "d"
    vertex.finish(vertex.stores.delete(name=made["name"]))
    assert refusal(vertex.stores.get(name=made["name"]))[0] == 404
