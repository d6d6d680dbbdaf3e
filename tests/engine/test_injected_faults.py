"""Google refuses, is away, or the plugin dies: the message is clear, and running again converges."""

from __future__ import annotations

import pytest

from rehearsal.world import Fault
from tests.engine.background import the_line
from tests.engine.conftest import MakeLab
from tests.engine.convergence import assert_converged
from tests.engine.lab import Lab

BUCKET, SERVICE = "gcp:storage/bucket:Bucket", "gcp:cloudrunv2/service:Service"
SERVICE_ID = "projects/llm-test/locations/us-central1/services/test-assistant"


@pytest.fixture
def lab(make_lab: MakeLab, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A stack in a cloud whose stand-ins lose no time between their retries, and whose jobs are stubs."""
    monkeypatch.setenv("LLMSTACK_RUNNER", "stub")
    made = make_lab()
    made.world().set_setting("retry.wait_seconds", "0.01")
    return made


def failed_up(lab: Lab) -> str:
    result = lab.up()
    assert result.failed, result.output
    assert "Traceback" not in result.output
    return result.output


def outcomes(lab: Lab, type_: str) -> list[str]:
    """How each call that creates a resource of a type ended."""
    calls = [call for call in lab.world().calls() if (call.provider, call.operation) == (type_, "create")]
    return [call.outcome for call in calls]


def test_after_a_refusal_and_a_crash_running_again_converges_through_a_storm(lab: Lab) -> None:
    faults = lab.world().faults
    faults.add(Fault("quota", SERVICE, "create"))
    refused = the_line(failed_up(lab), "Error 429")
    assert f"Quota exceeded for create of run.googleapis.com/{SERVICE_ID}" in refused
    assert "RESOURCE_EXHAUSTED" in refused
    assert lab.names("run.service") == []

    faults.clear()
    faults.add(Fault("crash_before", SERVICE, "create"))
    failed_up(lab)
    assert lab.names("run.service") == []

    faults.clear()
    faults.add(Fault("503", SERVICE, "create", times=3))
    converged = lab.up()
    assert not converged.failed, converged.output
    assert outcomes(lab, SERVICE) == ["quota", "crash_before", "503", "503", "503", "ok"]
    assert set(converged.changed().values()) == {"create"}
    assert lab.executions() == 1


def test_what_google_has_not_enough_of_ends_the_up_in_one_line_and_running_again_converges(lab: Lab) -> None:
    faults = lab.world().faults
    faults.add(Fault("stockout", BUCKET, "create"))
    assert "ZONE_RESOURCE_POOL_EXHAUSTED" in the_line(failed_up(lab), "Error 503")

    faults.clear()
    faults.add(Fault("503", BUCKET, "create", times=5))
    assert "The service is currently unavailable" in the_line(failed_up(lab), "Error 503")
    assert outcomes(lab, BUCKET)[-5:] == ["503"] * 5

    faults.clear()
    faults.add(Fault("429", BUCKET, "create", times=5))
    assert "Too many requests" in the_line(failed_up(lab), "Error 429")
    assert lab.names("storage.bucket") == []

    faults.clear()
    faults.add(Fault("429", BUCKET, "create", times=2))
    faults.add(Fault("503", "storage.googleapis.com", "storage.objects.list", times=2))
    converged = lab.up()
    assert not converged.failed, converged.output
    assert outcomes(lab, BUCKET)[-3:] == ["429", "429", "ok"]
    assert_converged(lab)
