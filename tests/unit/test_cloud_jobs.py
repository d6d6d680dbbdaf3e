"""Job executions of the rehearsed cloud, as a client of the Cloud Run API sees them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google.auth
import psutil
import pytest
from google.auth.transport.requests import AuthorizedSession

from rehearsal.cloud.client import ensure_running
from rehearsal.driver_processes import living
from tests.unit.cloud_world import JOB, Running, job_body


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setenv("LLMSTACK_RUNNER", "process")
    started = Running(tmp_path / "world")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(started.folder / "adc.json"))
    yield started
    started.stop()


class Jobs:
    """The API's view of one job."""

    def __init__(self, running: Running, body: dict[str, Any]) -> None:
        running.world.insert("run.job", JOB, body)
        credentials, _ = google.auth.default(scopes=["x"])
        self._http = AuthorizedSession(credentials)
        self._base = f"{running.base_url}/v2/"
        self.name = JOB.partition("/")[2]

    def ask(self, verb: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        answer = self._http.request(verb, self._base + path, json=body)
        assert answer.ok, answer.text
        return answer.json()

    def run(self, body: dict[str, Any] | None = None) -> dict[str, Any]:
        return self.ask("POST", f"{self.name}:run", body or {})

    def wait(self, operation: dict[str, Any]) -> dict[str, Any]:
        return self.ask("POST", f"{operation['name']}:wait", {"timeout": "30s"})

    def execution(self, operation: dict[str, Any]) -> dict[str, Any]:
        return self.ask("GET", operation["metadata"]["name"])

    def until_running(self, operation: dict[str, Any], log: str) -> None:
        deadline = time.monotonic() + 30
        while log not in self.log(operation):
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def log(self, operation: dict[str, Any]) -> str:
        uri = self.execution(operation).get("logUri", "")
        path = Path(uri.removeprefix("file://"))
        return path.read_text() if uri else ""


def test_an_execution_that_succeeds_is_found_by_its_label_with_its_log(running):
    jobs = Jobs(running, job_body("exit", "0"))
    operation = jobs.run()
    assert not operation["done"]
    assert jobs.wait(operation)["response"]["succeededCount"] == 1
    listed = jobs.ask("GET", f"{jobs.name}/executions")["executions"]
    assert [each["labels"]["llm-target"] for each in listed] == ["0123456789abcdef"]
    assert listed[0]["conditions"][0]["state"] == "CONDITION_SUCCEEDED"
    assert "args exit 0" in jobs.log(operation)
    job = jobs.ask("GET", jobs.name)
    assert job["latestCreatedExecution"]["completionStatus"] == "EXECUTION_SUCCEEDED"
    assert job["executionCount"] == 1


def test_an_execution_that_fails_says_its_exit_code_and_its_last_words(running):
    jobs = Jobs(running, job_body("exit", "13"))
    error = jobs.wait(jobs.run())["error"]
    assert "exit code 13" in error["message"]
    assert "args exit 13" in error["message"]
    listed = jobs.ask("GET", f"{jobs.name}/executions")["executions"][0]
    assert (listed["failedCount"], listed["conditions"][0]["executionReason"]) == (1, "NON_ZERO_EXIT_CODE")
    (task,) = jobs.ask("GET", f"{listed['name']}/tasks")["tasks"]
    assert task["name"].startswith(f"{listed['name']}/tasks/")
    assert task["lastAttemptResult"]["exitCode"] == 13


def test_a_task_is_tried_again_as_often_as_allowed(running):
    jobs = Jobs(running, job_body("flaky", "2", retries=2))
    done = jobs.wait(jobs.run())
    assert (done["response"]["succeededCount"], done["response"]["retriedCount"]) == (1, 2)
    more = {"overrides": {"containerOverrides": [{"args": ["flaky", "3"]}]}}
    assert "exit code 7" in jobs.wait(jobs.run(more))["error"]["message"]


def test_overrides_hold_for_one_execution(running):
    jobs = Jobs(running, job_body("exit", "1"))
    done = jobs.wait(
        jobs.run({"overrides": {"containerOverrides": [{"args": ["exit", "0"]}], "taskCount": 3}})
    )
    assert done["response"]["succeededCount"] == 3
    assert "error" in jobs.wait(jobs.run())


def test_a_task_that_takes_too_long_is_ended(running):
    jobs = Jobs(running, job_body("sleep", "60", timeout="1s"))
    error = jobs.wait(jobs.run())["error"]
    assert "timeout of 1 s" in error["message"]
    assert [line for line in living(running.folder) if "sleep" in line] == []


def test_a_cancelled_execution_stops_and_says_so(running):
    jobs = Jobs(running, job_body("sleep", "60", retries=3))
    operation = jobs.run()
    jobs.until_running(operation, "args sleep")
    jobs.ask("POST", f"{operation['metadata']['name']}:cancel", {})
    assert jobs.execution(operation)["cancelledCount"] == 1
    assert jobs.wait(operation)["error"]["code"] == 1
    assert [line for line in living(running.folder) if "sleep" in line] == []


def test_cancelling_a_job_stops_each_of_its_executions(running):
    jobs = Jobs(running, job_body("sleep", "60"))
    operations = [jobs.run(), jobs.run()]
    for operation in operations:
        jobs.until_running(operation, "args sleep")
    assert running.client.cancel_executions(JOB) == 2
    assert [jobs.wait(operation)["error"]["code"] for operation in operations] == [1, 1]


def test_an_execution_whose_record_is_deleted_leaves_no_process(running):
    jobs = Jobs(running, job_body("sleep", "60"))
    operation = jobs.run()
    jobs.until_running(operation, "args sleep")
    jobs.ask("DELETE", operation["metadata"]["name"])
    assert running.world.list("run.execution") == []
    assert [line for line in living(running.folder) if "sleep" in line] == []


def test_an_execution_outlives_a_killed_cloud_process_and_its_result_is_kept(running):
    jobs = Jobs(running, job_body("sleep", "2"))
    operation = jobs.run()
    jobs.until_running(operation, "args sleep")
    os.kill(running.client.status()["pid"], signal.SIGKILL)
    ensure_running(running.folder)
    assert jobs.wait(operation)["response"]["succeededCount"] == 1


def test_an_execution_that_died_with_the_machine_has_failed(running):
    jobs = Jobs(running, job_body("sleep", "60"))
    operation = jobs.run()
    jobs.until_running(operation, "args sleep")
    os.kill(running.client.status()["pid"], signal.SIGKILL)
    for line in living(running.folder):
        psutil.Process(int(line.split()[1].rstrip(":"))).kill()
    ensure_running(running.folder)
    assert "stopped with the rehearsed cloud" in jobs.wait(operation)["error"]["message"]


def test_a_job_whose_image_is_not_there_fails_with_its_name(running):
    body = job_body("exit", "0")
    body["template"]["template"]["containers"][0]["image"] = "python:3.11"
    jobs = Jobs(running, body)
    assert "python:3.11" in jobs.wait(jobs.run())["error"]["message"]
