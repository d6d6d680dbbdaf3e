"""Custom jobs of the rehearsed cloud, as Google's own client of Vertex AI sees them."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from importlib import resources
from typing import Any

import google.auth
import pytest
from googleapiclient.discovery import build_from_document
from googleapiclient.errors import HttpError

from rehearsal.cloud.client import ensure_running
from rehearsal.cloud.custom_jobs import KIND
from rehearsal.standins.names import service_name
from rehearsal.world import Fault
from tests.unit.aiplatform_world import anew, emptied
from tests.unit.cloud_world import ACCOUNT, IMAGE, LOCATION, PROJECT, STRANGER, Running

LABEL = {"llm-target": "0123456789abcdef"}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("LLMSTACK_RUNNER", "process")
        started = Running(tmp_path_factory.mktemp("cloud") / "world")
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(started.folder / "adc.json"))
        yield started
        started.stop()


@pytest.fixture
def running(cloud: Running) -> Iterator[Running]:
    api = service_name(PROJECT, "aiplatform.googleapis.com")
    if cloud.world.get(api) is None:
        cloud.world.insert("serviceusage.service", api, {"state": "ENABLED"})
    yield cloud
    emptied(cloud, locations(cloud))


def locations(running: Running, credentials: Any = None) -> Any:
    found = credentials or google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])[0]
    documents = resources.files("googleapiclient.discovery_cache.documents")
    document = json.loads((documents / "aiplatform.v1.json").read_text())
    document["rootUrl"] = running.base_url + "/"
    api = build_from_document(document, credentials=found, requestBuilder=anew(found))
    return api.projects().locations()


def jobs(running: Running, credentials: Any = None) -> Any:
    return locations(running, credentials).customJobs()


def body(*args: str, name: str = "weights", timeout: str = "60s", **changes: Any) -> dict[str, Any]:
    pool = {
        "machineSpec": {"machineType": "e2-highmem-2"},
        "replicaCount": "1",
        "containerSpec": {"imageUri": IMAGE, "args": list(args), "env": [{"name": "A", "value": "b"}]},
    }
    spec = {"workerPoolSpecs": [pool], "serviceAccount": ACCOUNT, "scheduling": {"timeout": timeout}}
    return {"displayName": name, "labels": LABEL, "jobSpec": spec, **changes}


def create(running: Running, given: dict[str, Any]) -> dict[str, Any]:
    return jobs(running).create(parent=LOCATION, body=given).execute()


def ended(running: Running, name: str) -> dict[str, Any]:
    deadline = time.monotonic() + 30
    while "endTime" not in (found := jobs(running).get(name=name).execute()):
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return found


def refusal(request: Any) -> tuple[int, str]:
    with pytest.raises(HttpError) as caught:
        request.execute()
    return int(caught.value.resp.status), str(caught.value.reason)


def test_a_custom_job_that_succeeds_keeps_its_request_and_names_the_projects_number(running):
    made = create(running, body("exit", "0"))
    number = running.world.ensure_project(PROJECT).body["number"]
    assert made["name"].startswith(f"projects/{number}/locations/us-central1/customJobs/")
    assert made["state"] == "JOB_STATE_PENDING"
    found = ended(running, made["name"])
    assert found["state"] == "JOB_STATE_SUCCEEDED"
    assert found["labels"] == LABEL
    assert found["jobSpec"]["scheduling"] == {"timeout": "60s"}
    assert "error" not in found


def test_a_custom_job_that_fails_says_its_exit_code_as_vertex_does_and_its_last_words(running):
    error = ended(running, create(running, body("exit", "13"))["name"])["error"]
    assert error["message"].startswith("The replica workerpool0-0 exited with a non-zero status of 13.")
    assert "args exit 13" in error["message"]
    late = ended(running, create(running, body("sleep", "60", timeout="1s"))["name"])
    assert "timeout of 1 s" in late["error"]["message"]


def test_custom_jobs_are_found_by_name_and_by_state_the_newest_first(running):
    first = create(running, body("exit", "0"))
    ended(running, first["name"])
    second = create(running, body("sleep", "60"))
    create(running, body("sleep", "60", name="other"))
    named = jobs(running).list(parent=LOCATION, filter='display_name="weights"').execute()["customJobs"]
    assert [each["name"] for each in named] == [second["name"], first["name"]]
    wanted = 'state="JOB_STATE_RUNNING" OR state="JOB_STATE_PENDING"'
    live = jobs(running).list(parent=LOCATION, filter=wanted).execute()["customJobs"]
    assert {each["displayName"] for each in live} == {"weights", "other"}
    assert len(jobs(running).list(parent=LOCATION).execute()["customJobs"]) == 3
    labelled = 'labels.llm-target="0123456789abcdef" AND NOT display_name="other"'
    assert len(jobs(running).list(parent=LOCATION, filter=labelled).execute()["customJobs"]) == 2
    status, reason = refusal(jobs(running).list(parent=LOCATION, filter="colour=b"))
    assert (status, "not supported" in reason) == (400, True)


def test_a_custom_job_is_cancelled_and_deleted_only_once_it_has_ended(running):
    name = create(running, body("sleep", "60"))["name"]
    assert refusal(jobs(running).delete(name=name))[0] == 400
    assert jobs(running).cancel(name=name, body={}).execute() == {}
    assert ended(running, name)["state"] == "JOB_STATE_CANCELLED"
    assert refusal(jobs(running).cancel(name=name, body={}))[0] == 400
    jobs(running).delete(name=name).execute()
    assert refusal(jobs(running).get(name=name))[0] == 404
    assert running.world.list(KIND) == []


def test_what_google_refuses_is_refused_with_its_reason(running):
    wrong = body("exit", "0")
    wrong["jobSpec"]["workerPoolSpecs"][0]["machineSpec"]["machineType"] = "huge"
    status, reason = refusal(jobs(running).create(parent=LOCATION, body=wrong))
    assert (status, "is not supported for custom training" in reason) == (400, True)
    misspelt = {**body("exit", "0"), "jobSpecs": {}}
    assert "Unknown name" in refusal(jobs(running).create(parent=LOCATION, body=misspelt))[1]
    running.world.delete(service_name(PROJECT, "aiplatform.googleapis.com"))
    status, reason = refusal(jobs(running).create(parent=LOCATION, body=body("exit", "0")))
    assert (status, "SERVICE_DISABLED" in reason) == (403, True)
    assert running.world.list(KIND) == []


def test_who_creates_one_needs_a_role_and_must_be_allowed_to_act_as_its_account(running):
    from google.oauth2.credentials import Credentials

    from rehearsal.cloud.tokens import Tokens, member_of

    token = Tokens(running.folder).access(member_of(STRANGER))["access_token"]
    stranger = jobs(running, Credentials(token))
    project = f"cloudresourcemanager.googleapis.com/projects/{PROJECT}"
    account = f"iam.googleapis.com/projects/{PROJECT}/serviceAccounts/{ACCOUNT}"
    status, reason = refusal(stranger.create(parent=LOCATION, body=body("exit", "0")))
    assert (status, "aiplatform.customJobs.create" in reason) == (403, True)
    running.world.bind(project, "roles/aiplatform.user", f"serviceAccount:{STRANGER}")
    status, reason = refusal(stranger.create(parent=LOCATION, body=body("exit", "0")))
    assert (status, "iam.serviceAccounts.actAs" in reason) == (403, True)
    running.world.bind(account, "roles/iam.serviceAccountUser", f"serviceAccount:{STRANGER}")
    made = stranger.create(parent=LOCATION, body=body("exit", "0")).execute()
    assert ended(running, made["name"])["state"] == "JOB_STATE_SUCCEEDED"


def test_an_injected_fault_answers_instead_of_vertex(running):
    operation = "aiplatform.projects.locations.customJobs.create"
    running.world.faults.add(Fault("503", operation=operation))
    assert refusal(jobs(running).create(parent=LOCATION, body=body("exit", "0")))[0] == 503
    assert running.world.list(KIND) == []
    create(running, body("exit", "0"))


def test_after_the_cloud_process_died_the_custom_job_goes_on(running):
    name = create(running, body("sleep", "3"))["name"]
    deadline = time.monotonic() + 30
    while jobs(running).get(name=name).execute()["state"] != "JOB_STATE_RUNNING":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.kill(json.loads((running.folder / "cloud.json").read_text())["pid"], signal.SIGKILL)
    running.base_url = ensure_running(running.folder)
    assert ended(running, name)["state"] == "JOB_STATE_SUCCEEDED"
