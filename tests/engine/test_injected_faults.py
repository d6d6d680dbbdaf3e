"""Google refuses, is away, or the plugin dies: the message is clear, and running again converges."""

from __future__ import annotations

import json

import pytest

from rehearsal.world import Fault
from tests.engine.background import the_line
from tests.engine.conftest import MakeLab
from tests.engine.lab import Lab

SERVICE = "gcp:cloudrunv2/service:Service"
SERVICE_ID = "projects/llm-test/locations/us-central1/services/test-assistant"


@pytest.fixture
def lab(make_lab: MakeLab) -> Lab:
    """A stack in a cloud whose stand-ins lose no time between their retries."""
    made = make_lab()
    made.world().set_setting("retry.wait_seconds", "0.01")
    return made


def failed_up(lab: Lab) -> str:
    result = lab.up()
    assert result.failed, result.output
    assert "Traceback" not in result.output
    return result.output


def service_creates(lab: Lab) -> list[str]:
    """How each call that creates the service ended."""
    calls = [call for call in lab.world().calls() if (call.provider, call.operation) == (SERVICE, "create")]
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
    assert service_creates(lab) == ["quota", "crash_before", "503", "503", "503", "ok"]
    assert set(converged.changed().values()) == {"create"}
    assert lab.executions() == 1


def test_a_service_that_a_crash_kept_from_the_state_is_named_with_the_way_to_import_it(lab: Lab) -> None:
    faults = lab.world().faults
    faults.add(Fault("crash_after", SERVICE, "create"))
    failed_up(lab)
    assert lab.names("run.service") == [f"run.googleapis.com/{SERVICE_ID}"]

    refused = the_line(failed_up(lab), "Error 409")
    assert f"Resource 'run.googleapis.com/{SERVICE_ID}' already exists" in refused
    assert "`pulumi preview --import-file import.json`" in refused
    assert "`pulumi import --file import.json`" in refused

    file = lab.root / "import.json"
    lab.pulumi("preview", "--import-file", str(file))
    known = json.loads(file.read_text(encoding="utf-8"))
    (entry,) = known["resources"]
    entry["id"] = SERVICE_ID
    file.write_text(json.dumps(known), encoding="utf-8")
    lab.pulumi("import", "--yes", "--skip-preview", "--file", str(file), "--generate-code=false")
    converged = lab.up()
    assert not converged.failed, converged.output
    assert converged.changed() == {"assistant-service": "update"}
    assert len(service_creates(lab)) == 2
    assert not lab.up().changed()
