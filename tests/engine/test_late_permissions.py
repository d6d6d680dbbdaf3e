"""Grants that hold only later: the staging job believes a refusal after minutes, not at once."""

from __future__ import annotations

from typing import Any

import pytest

from rehearsal.world import Fault
from tests.engine.background import BackgroundUp, executions, the_line
from tests.engine.conftest import MakeLab
from tests.engine.convergence import assert_converged
from tests.engine.lab import Lab

LIST = "storage.objects.list"
ACCOUNT = "test-assistant-weights@llm-test.iam.gserviceaccount.com"
LONG_SECONDS = 1_000_000


@pytest.fixture
def lab(make_lab: MakeLab) -> Lab:
    """A stack in a cloud where a new grant holds only when the test lets the time pass; its job is real."""
    made = make_lab()
    made.world().set_setting("iam.propagation_seconds", str(LONG_SECONDS))
    return made


def refusals(lab: Lab) -> list[str]:
    """What Cloud Storage said to the job."""
    calls = lab.world().calls()
    return [call.detail for call in calls if call.outcome == "error" and ACCOUNT in call.detail]


def without_patience(body: dict[str, Any]) -> dict[str, Any]:
    """The job's definition with a limit of one second."""
    (container,) = body["template"]["template"]["containers"]
    container["env"] = [*container.get("env", []), {"name": "WEIGHTS_PERMISSION_SECONDS", "value": "1"}]
    return body


def test_a_staging_job_waits_for_a_grant_that_arrives_late(lab: Lab) -> None:
    up = BackgroundUp(lab)
    up.go_on_until(lambda: refusals(lab), "a job that may not write yet")
    lab.world().advance(LONG_SECONDS)
    assert up.wait() == 0, up.output()
    assert list(executions(lab).values()) == ["CONDITION_SUCCEEDED"]
    assert_converged(lab)


def test_a_grant_that_never_comes_is_named_and_after_its_repair_up_converges(lab: Lab) -> None:
    lab.world().faults.add(Fault("slow", "storage.googleapis.com", LIST, seconds=5))
    up = BackgroundUp(lab)
    up.go_on_until(lambda: lab.names("run.job"), "a job that has not begun")
    (job,) = lab.names("run.job")
    lab.world().edit(job, without_patience)
    assert up.wait() != 0
    said = the_line(up.output(), "exit code 14 (permission)")
    assert f"{ACCOUNT} needs roles/storage.objectUser on bucket llm-test-test-models" in said

    lab.world().advance(LONG_SECONDS)
    repaired = lab.up()
    assert not repaired.failed, repaired.output
    assert_converged(lab)


def test_a_token_that_the_job_may_not_read_yet_is_named_and_up_again_converges(lab: Lab) -> None:
    lab.pulumi("config", "set", "--secret", "llm:hubToken", "hf_planted_token")
    refused = lab.up()
    assert refused.failed
    said = the_line(refused.output, "projects/llm-test/secrets/test-hub-token")
    assert ACCOUNT in said

    lab.world().advance(LONG_SECONDS)
    later = lab.up()
    assert not later.failed, later.output
    assert_converged(lab)
