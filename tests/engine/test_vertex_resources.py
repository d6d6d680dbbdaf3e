"""Models, deployments, custom jobs and pipeline runs of Vertex AI under the real engine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from google.auth.transport.requests import Request

from rehearsal.cloud.aiplatform.pipeline_runs import KIND as PIPELINE_JOB
from rehearsal.cloud.aiplatform.quotas import limit_setting
from rehearsal.world import Fault
from tests.engine.background import the_line, until
from tests.engine.conftest import MakeLab
from tests.engine.lab import without_components
from tests.engine.test_vertex_staging import custom_jobs
from tests.engine.vertex_program import (
    CONFIG,
    ENDPOINT,
    MODEL_NAME,
    OVERRIDE,
    Json,
    VertexStack,
    deployment,
    job,
    model,
    run,
)
from tests.unit.cloud_world import ACCOUNT, PROJECT, REGION

SHOWN = {"name": "1234567890", "location": REGION, "displayName": "assistant"}
DEPLOY = "*endpoints.deployModel.operation"
DUTY = "aiplatform.googleapis.com/prediction/online/cpu/utilization"


@pytest.fixture
def stack(make_lab: MakeLab) -> VertexStack:
    """A stack that deploys to an endpoint which it has not made."""
    made = VertexStack(make_lab(CONFIG))
    made.make_endpoint()
    return made


def done(stack: VertexStack, verb: str) -> int:
    """The place in time at which a call was made that is made once."""
    (place,) = [number for number, call in enumerate(stack.world.calls()) if call.operation.endswith(verb)]
    return place


def state_of(stack: VertexStack, name: str) -> str:
    """The output `state` of a resource, as the stack's state has it."""
    resources = stack.lab.stack.export_stack().deployment["resources"]
    (found,) = [each for each in resources if each["urn"].endswith(f"::{name}")]
    state: str = found["outputs"]["state"]
    return state


def test_all_are_created_once_and_deleted_in_an_order_that_google_takes(make_lab: MakeLab) -> None:
    stack = VertexStack(make_lab(CONFIG))
    first = stack.up(
        endpoint=SHOWN, model=model(), deployment=deployment(), job=job("exit", "0"), run=run("exit", "0")
    )
    created = without_components(first.changed(), ["llm-test", "default"])
    assert created == dict.fromkeys(("endpoint", "model", "deployment", "job", "run"), "create")
    assert stack.asked() == "one"
    outputs = stack.lab.outputs()
    assert outputs["job"] == "SUCCEEDED"
    assert stack.deployed() == [f"aiplatform.googleapis.com/{ENDPOINT}/deployedModels/{outputs['deployed']}"]

    second = stack.up()
    assert second.changed() == {}
    stack.assert_known()
    stack.assert_destroyed()
    assert done(stack, ".undeployModel.operation") < done(stack, "models.delete")
    calls = [(call.provider, call.operation) for call in stack.world.calls()]
    assert calls.index(("gcp:vertex/aiEndpoint:AiEndpoint", "delete")) > done(
        stack, ".undeployModel.operation"
    )


def test_what_google_can_change_changes_in_place_and_the_rest_makes_another(stack: VertexStack) -> None:
    stack.up(model=model(), deployment=deployment())
    (served,) = stack.deployed()
    texts = {"display_name": "Other", "description": "for people", "labels": {"stack": "other"}}
    named: Json = {"version_aliases": ["stable"], "metrics": {"eval_loss": 1.5, "bleu": None}}
    scale = {"min_replicas": 2, "max_replicas": 3, "autoscaling": {DUTY: 70}}
    routes = {"traffic_steps": [50, 100], "step_seconds": 1}
    result = stack.up(model=model(**texts, **named), deployment=deployment(**scale, **routes))
    assert without_components(result.changed()) == {"model": "update", "deployment": "update"}
    fields = {path.partition(".")[0].partition("[")[0] for path in result.of("model").diffs}
    assert fields == {"displayName", "description", "labels", "versionAliases", "metrics"}
    changed = {path.partition(".")[0].partition("[")[0] for path in result.of("deployment").diffs}
    assert changed == {"minReplicas", "maxReplicas", "autoscaling", "trafficSteps", "stepSeconds"}
    assert (stack.calls("upload"), stack.calls("deployModel")) == (1, 1)
    assert stack.deployed() == [served]
    shown = stack.google.models().get(name=MODEL_NAME).execute()
    assert (shown["displayName"], shown["versionAliases"]) == ("Other", ["default", "stable"])
    assert (
        shown["labels"] | {"metric-eval_loss": "1_5", "metric-bleu": "none", "stack": "other"}
        == shown["labels"]
    )

    machine = {"display_name": "bigger", "machine_type": "g2-standard-8", "spot": True}
    gpu = {"accelerator_type": "NVIDIA_L4", "accelerator_count": 1}
    switched = stack.up(model=model("two"), deployment=deployment(**machine, **gpu))
    assert without_components(switched.changed()) == {"model": "update", "deployment": "update"}
    assert (stack.calls("upload"), stack.calls("deployModel")) == (2, 2)
    assert stack.asked() == "two"
    assert served not in stack.deployed()
    assert list(stack.split().values()) == [100]

    stack.want(
        model=model("two", model_id="other", location="us-east1"),
        deployment=deployment(**machine, **gpu, endpoint="99", model=f"{MODEL_NAME}@2"),
    )
    elsewhere = stack.lab.preview()
    kinds = {(step.name, step.op) for step in elsewhere.steps}
    assert {("model", "replace"), ("deployment", "replace")} <= kinds
    (other,) = [step.diffs for step in elsewhere.steps if (step.name, step.op) == ("model", "replace")]
    assert other == {"modelId", "location"}


def test_a_refresh_finds_drift_and_up_mends_it(stack: VertexStack) -> None:
    stack.up(model=model(), deployment=deployment(), job=job("exit", "0"), run=run("sleep", "9"))
    body: Json = {"labels": {"stack": "by-hand"}, "displayName": "By hand"}
    stack.google.models().patch(name=MODEL_NAME, body=body, updateMask="displayName").execute()
    stack.google.models().patch(name=f"{MODEL_NAME}@1", body=body, updateMask="labels").execute()
    (name,) = stack.deployed()
    replicas = {"minReplicaCount": 1, "maxReplicaCount": 4}
    change = {"deployedModel": {"id": name.rpartition("/")[2], "dedicatedResources": replicas}}
    change["updateMask"] = "dedicatedResources.maxReplicaCount"  # type: ignore[assignment]
    begun = stack.google.endpoints().mutateDeployedModel(endpoint=ENDPOINT, body=change).execute()
    stack.google.endpoints().operations().wait(name=begun["name"]).execute()
    (number,) = custom_jobs(stack.lab)
    stack.google.customJobs().delete(
        name=f"{ENDPOINT.rpartition('/endpoints')[0]}/customJobs/{number}"
    ).execute()

    assert state_of(stack, "run") in ("PENDING", "RUNNING")
    until(lambda: "endTime" in stack.world.list(PIPELINE_JOB)[0].body, "the end of the pipeline run")

    found = stack.lab.refresh()
    assert not found.failed, found.output
    drifted = {"model": "update", "deployment": "update", "job": "delete"}
    assert without_components(found.changed(), ["llm-test", "run"]) == drifted
    assert state_of(stack, "run") == "SUCCEEDED"
    mended = stack.up()
    assert without_components(mended.changed()) == {
        "model": "update",
        "deployment": "update",
        "job": "create",
    }
    assert stack.google.models().get(name=MODEL_NAME).execute()["displayName"] == "Assistant"
    assert stack.calls("deployModel") == 1

    undeploy = {"deployedModelId": name.rpartition("/")[2]}
    begun = stack.google.endpoints().undeployModel(endpoint=ENDPOINT, body=undeploy).execute()
    stack.google.endpoints().operations().wait(name=begun["name"]).execute()
    gone = stack.lab.refresh()
    assert without_components(gone.changed()) == {"deployment": "delete"}
    assert without_components(stack.up().changed()) == {"deployment": "create"}
    assert stack.asked() == "one"
    stack.assert_converged()


def test_a_lost_state_is_found_again_and_imports_and_forced_replacements_make_nothing_twice(
    stack: VertexStack,
) -> None:
    everything = {
        "model": model(),
        "deployment": deployment(),
        "job": job("exit", "0"),
        "run": run("exit", "0"),
    }
    stack.up(**everything)
    once = ("models.upload", "endpoints.deployModel", "customJobs.create", "pipelineJobs.create")

    def made() -> list[int]:
        return [stack.calls(each) for each in once]

    full = stack.lab.stack.export_stack()
    resources = full.deployment["resources"]
    own = [each for each in resources if each["type"].startswith("modelops:vertex:")]
    kept = {**full.deployment, "resources": [each for each in resources if each not in own]}
    stack.lab.stack.import_stack(type(full)(version=full.version, deployment=kept))
    found = stack.up()
    assert set(without_components(found.changed()).values()) == {"create"}
    assert made() == [1, 1, 1, 1]
    stack.assert_known()

    stack.lab.stack.import_stack(type(full)(version=full.version, deployment=kept))
    (stack.lab.root / "import.json").write_text(json.dumps({"resources": [_import(each) for each in own]}))
    flags = ("--yes", "--skip-preview", "--generate-code=false", "--protect=false")
    stack.lab.pulumi("import", "--file", str(stack.lab.root / "import.json"), *flags)
    after = stack.up()
    # How traffic moves and what is waited for are nothing that Google knows.
    assert {step.name: set(step.diffs) for step in after.steps if step.diffs} == {
        "deployment": {"stepSeconds"}
    }
    assert made() == [1, 1, 1, 1]

    urns = [each["urn"] for each in own if each["type"] not in ("modelops:vertex:CustomJob",)]
    stack.lab.stack.up(replace=urns)
    # A run that is replaced is another run.
    assert made() == [1, 1, 1, 2]
    assert stack.asked() == "one"
    stack.assert_converged()


def _import(resource: Json) -> Json:
    return {
        "type": resource["type"],
        "name": resource["urn"].rpartition("::")[2],
        "id": resource["id"],
    }


def test_without_quota_or_machines_one_line_says_so_and_the_old_deployment_serves(stack: VertexStack) -> None:
    stack.up(model=model(), deployment=deployment())
    stack.world.set_setting(limit_setting("CPUs", REGION), "6")
    quota = the_line(stack.refused(model=model("two"), deployment=deployment()), "quotas are exceeded")
    assert "CustomModelServingCPUsPerProjectPerRegion (4 needed, 4 in use, limit 6 in us-central1)" in quota
    assert "ask for more of it" in quota
    assert stack.asked() == "one"
    assert len(stack.deployed()) == 1

    stack.world.set_setting(limit_setting("CPUs", REGION), "8")
    stack.world.faults.add(Fault("stockout", operation=DEPLOY))
    stock = the_line(stack.refused(), "ZONE_RESOURCE_POOL_EXHAUSTED")
    assert "the machine is not to be had there now" in stock
    assert stack.asked() == "one"

    stack.up()
    assert stack.asked() == "two"
    assert len(stack.deployed()) == 1
    stack.assert_known()


def test_a_job_that_fails_stays_known_and_another_run_deletes_the_one_before(stack: VertexStack) -> None:
    said = the_line(stack.refused(job=job("exit", "3"), run=run("exit", "0")), "ended as FAILED")
    assert "non-zero status of 3" in said
    assert "The next `pulumi up` runs it anew" in said
    stack.assert_known()
    first = stack.lab.names(PIPELINE_JOB)

    result = stack.up(job=job("exit", "0"), run=run("exit", "0", labels={"round": "two"}))
    deleted = {step.name for step in result.steps if step.op in ("delete-replaced", "delete")}
    assert deleted == {"job", "run"}
    assert list(custom_jobs(stack.lab).values()) == ["JOB_STATE_SUCCEEDED"]
    assert stack.lab.names(PIPELINE_JOB) == first, "the same id"
    assert done(stack, "pipelineJobs.delete") < max(
        number
        for number, call in enumerate(stack.world.calls())
        if call.operation.endswith("pipelineJobs.create")
    )
    stack.assert_destroyed()
    assert custom_jobs(stack.lab) == {}


@pytest.mark.skipif(shutil.which("gcloud") is None, reason="gcloud is not installed")
def test_gcloud_lists_what_the_provider_made(stack: VertexStack, tmp_path: Path) -> None:
    stack.up(model=model(), deployment=deployment(), job=job("exit", "0"))
    stack.credentials.refresh(Request())
    (tmp_path / "token").write_text(stack.credentials.token)
    settings = {
        OVERRIDE: stack.lab.variables[OVERRIDE],
        "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": str(tmp_path / "token"),
        "CLOUDSDK_CORE_PROJECT": PROJECT,
        "CLOUDSDK_CONFIG": str(tmp_path / "gcloud"),
    }

    def gcloud(*arguments: str) -> Any:
        command = ["gcloud", "ai", *arguments, "--region", REGION, "--format", "json", "--quiet"]
        ended = subprocess.run(
            command, env={**os.environ, **settings}, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    assert [each["displayName"] for each in gcloud("models", "list")] == ["Assistant"]
    (endpoint,) = gcloud("endpoints", "list")
    (served,) = endpoint["deployedModels"]
    assert served["id"] == stack.lab.outputs()["deployed"]
    assert served["serviceAccount"] == ACCOUNT
    assert endpoint["trafficSplit"] == {served["id"]: 100}
    assert [each["displayName"] for each in gcloud("custom-jobs", "list")] == ["train"]
