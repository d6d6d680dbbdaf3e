"""What creating a `StagedModel` does: run the job once, wait, verify, and be interrupted without harm."""

import asyncio
import json

import pytest

from providers.base.errors import Cancelled, InitializationFailed
from providers.base.provider import CreateRequest
from providers.base.values import UNKNOWN
from tests.unit.modelops.calls import INPUTS, MANIFEST, TYPE, URN, create, update
from tests.unit.modelops.fake_google import JOB, PREFIX, TARGET, manifest_of


def test_create_runs_the_job_waits_and_reports_what_the_manifest_says(provider, google):
    created = create(provider)
    raw = google.buckets["models"][MANIFEST]
    assert created.id == JOB
    assert created.outputs["files"] == 2
    assert created.outputs["totalBytes"] == len(b"weights") + len(b"{}")
    assert created.outputs["toolVersion"] == "weights/1.0.0"
    assert len(created.outputs["manifestSha256"]) == 64
    assert {key: created.outputs[key] for key in INPUTS} == INPUTS
    assert json.loads(raw)["repository"] == "google/t5"
    assert len(google.executions) == 1


def test_create_runs_nothing_where_the_model_is_staged_already(provider, google):
    google.stage()
    assert create(provider).outputs["files"] == 2
    assert google.executions == {}


def test_create_waits_for_an_execution_that_an_interrupted_up_left_running(provider, google):
    google.begin(JOB)
    assert create(provider).outputs["files"] == 2
    assert len(google.executions) == 1


def test_create_does_not_take_an_execution_for_another_target_for_its_own(provider, google):
    other = google.begin(JOB)
    other["labels"]["llm-target"] = "f" * 16
    create(provider)
    assert len(google.executions) == 2


def test_an_execution_that_failed_before_does_not_stand_in_the_way(provider, google):
    google.outcome = 20
    with pytest.raises(InitializationFailed):
        create(provider)
    google.outcome = "stage"
    assert create(provider).outputs["files"] == 2
    assert len(google.executions) == 2


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda objects: objects.pop(MANIFEST), "manifest.json is not there, though 2 objects are"),
        (lambda objects: objects.pop(PREFIX + "config.json"), "config.json is missing"),
        (lambda objects: objects.update({PREFIX + "config.json": b"{ }"}), "config.json has 3 bytes, not 2"),
        (lambda objects: objects.update({MANIFEST: b"{"}), "manifest.json is not valid"),
        (
            lambda objects: objects.update({MANIFEST: manifest_of({"a": b""}, revision="old")}),
            "says revision old",
        ),
        (lambda objects: objects.update({MANIFEST: manifest_of({})}), "manifest.json is not valid: files"),
    ],
)
def test_what_is_not_the_whole_wanted_model_is_staged_again(provider, google, damage, why):
    google.stage()
    damage(google.buckets["models"])
    google.outcome = "nothing"
    with pytest.raises(InitializationFailed, match=why):
        create(provider)
    google.outcome = "stage"
    assert create(provider).outputs["files"] == 2


def test_a_wait_that_takes_too_long_ends_but_leaves_the_execution_running(provider, google):
    google.steps = 10**9
    with pytest.raises(InitializationFailed, match="execution weights-1 still runs after 0s and goes on"):
        create(provider, timeout=0.05)
    assert google.count("POST", ":cancel") == 0


def test_cancel_stops_waiting_and_the_next_up_finds_the_execution(provider, google):
    google.steps = 10**9

    async def interrupted():
        running = asyncio.ensure_future(provider.create(CreateRequest(URN, TYPE, "assistant", dict(INPUTS))))
        while not google.executions:
            await asyncio.sleep(0.01)
        await provider.cancel()
        await running

    with pytest.raises(
        InitializationFailed, match="weights-1 goes on, and the next `pulumi up` waits for it"
    ) as caught:
        asyncio.run(interrupted())
    assert isinstance(caught.value.__cause__, Cancelled)
    provider.cancelled.clear()
    google.executions[f"{JOB}/executions/weights-1"]["steps"] = 1
    outputs = update(provider, INPUTS, old_outputs=caught.value.outputs)
    assert outputs["files"] == 2
    assert len(google.executions) == 1


def test_a_lost_answer_to_run_does_not_start_a_second_execution(provider, google):
    google.faults[("POST", ":run")] = ["lost"]
    assert create(provider).outputs["files"] == 2
    assert len(google.executions) == 1


def test_a_preview_asks_google_nothing_and_leaves_unknown_what_only_the_files_tell(provider, google):
    foreseen = create(provider, {**INPUTS, "job": UNKNOWN}, preview=True)
    assert foreseen.id == ""
    assert foreseen.outputs["manifestSha256"] is UNKNOWN
    assert foreseen.outputs["target"] == TARGET
    assert update(provider, {**INPUTS, "revision": "def"}, preview=True)["files"] is UNKNOWN
    assert google.requests == []
