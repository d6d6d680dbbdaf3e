"""What a deployment becomes whose weights are staged on another platform."""

from __future__ import annotations

from typing import Any

import pytest

from stacks.stack import build_stack
from tests.components.conftest import Plan, Recorder
from tests.components.test_stack import Run, text

VERTEX = "      weights: {runner: vertex}\n"
TOKEN = "  llm:hubTokenSecret: shared-token\n"


@pytest.fixture
def recorded(plan_of: Plan, run: Run) -> Recorder:
    plan = plan_of(text(extra=VERTEX + TOKEN))
    return run(lambda: build_stack(plan))


def only(recorded: Recorder, name: str) -> Any:
    (found,) = [each for each in recorded.resources if each.name == name]
    return found


def test_a_custom_job_is_no_resource_and_its_definition_travels_with_the_staged_model(
    recorded: Recorder,
) -> None:
    assert "gcp:cloudrunv2/job:Job" not in {each.type for each in recorded.resources}
    staged = only(recorded, "assistant-weights-staged").inputs
    assert staged["job"] == "projects/acme-ml-dev/locations/us-central1/customJobs/test-assistant-weights"
    definition = staged["definition"]
    assert definition["machineType"] == "e2-highmem-2"
    assert definition["args"][:3] == ["stage", "--repo", "google/flan-t5-small"]
    assert definition["env"] == {
        "HF_TOKEN_SECRET": "projects/acme-ml-dev/secrets/shared-token/versions/latest"
    }


def test_its_account_may_write_one_bucket_and_read_one_secret_and_is_given_both_first(
    recorded: Recorder,
) -> None:
    roles = {
        each.name: each.inputs["role"]
        for each in recorded.resources
        if each.name.startswith("assistant-weights-") and "role" in each.inputs
    }
    assert roles == {
        "assistant-weights-writes-bucket": "roles/storage.objectUser",
        "assistant-weights-reads-token": "roles/secretmanager.secretAccessor",
    }
    before = " ".join(only(recorded, "assistant-weights-staged").dependencies)
    for name in (*roles, "foundation-api-aiplatform", "foundation-models", "assistant-weights-account"):
        assert f"::{name}" in before


def test_a_cloud_run_job_carries_no_definition(plan_of: Plan, run: Run) -> None:
    plan = plan_of(text())
    staged = only(run(lambda: build_stack(plan)), "assistant-weights-staged").inputs
    assert "definition" not in staged
