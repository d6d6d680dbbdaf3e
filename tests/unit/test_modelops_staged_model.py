"""`StagedModel` against a small loopback Google."""

import asyncio
import json
import threading
from pathlib import Path

import pytest
from google.auth.credentials import AnonymousCredentials

from providers.base.diff import Kind
from providers.base.errors import Cancelled, InitializationFailed, ProviderError
from providers.base.provider import (
    CheckRequest,
    CreateRequest,
    DeleteRequest,
    DiffRequest,
    ReadRequest,
    UpdateRequest,
)
from providers.base.values import UNKNOWN
from providers.modelops import client, waiting
from providers.modelops.client import Google
from providers.modelops.exit_codes import explain
from providers.modelops.provider import ModelopsProvider
from tests.unit.provider_fake_google import (
    JOB,
    LABEL,
    PREFIX,
    SOURCE,
    TARGET,
    FakeGoogle,
    manifest_of,
    serving,
)

TYPE = "modelops:index:StagedModel"
URN = f"urn:pulumi:dev::llm::{TYPE}::assistant"
INPUTS = {"job": JOB, "target": TARGET, **SOURCE, "targetLabel": LABEL, "retain": False}
MANIFEST = PREFIX + "manifest.json"


@pytest.fixture
def google():
    return FakeGoogle()


@pytest.fixture
def provider(google, monkeypatch):
    monkeypatch.setattr(waiting, "FIRST_PAUSE_SECONDS", 0.01)
    # Retries wait for nothing here; that they are bounded is a matter of their number.
    monkeypatch.setattr(client.Google, "_sleep", lambda self, seconds: None)
    with serving(google) as address:
        environment = {
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN": f"{address}/",
            "STORAGE_EMULATOR_HOST": address,
        }
        yield ModelopsProvider(google=Google(threading.Event(), environment, AnonymousCredentials()))


def create(provider, inputs=INPUTS, **more):
    return asyncio.run(provider.create(CreateRequest(URN, TYPE, "assistant", dict(inputs), **more)))


def update(provider, news, olds=INPUTS, old_outputs=None, **more):
    outputs = {**olds, "files": 2, "manifestSha256": "x"} if old_outputs is None else old_outputs
    request = UpdateRequest(URN, TYPE, "assistant", JOB, dict(olds), outputs, dict(news), **more)
    return asyncio.run(provider.update(request))


def read(provider, inputs=INPUTS):
    return asyncio.run(provider.read(ReadRequest(URN, TYPE, "assistant", JOB, dict(inputs), dict(inputs))))


def delete(provider, inputs=INPUTS):
    asyncio.run(provider.delete(DeleteRequest(URN, TYPE, "assistant", JOB, dict(inputs), dict(inputs))))


def diff(provider, news, outputs, olds=INPUTS):
    return asyncio.run(provider.diff(DiffRequest(URN, TYPE, JOB, dict(olds), outputs, dict(news))))


def check(provider, news):
    answer = asyncio.run(provider.check(CheckRequest(URN, TYPE, "assistant", {}, news)))
    return answer.inputs, {failure.path: failure.reason for failure in answer.failures}


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


def test_a_failed_execution_says_why_what_to_do_and_where_the_log_is(provider, google):
    google.outcome = 10
    with pytest.raises(InitializationFailed) as caught:
        create(provider)
    [reason] = caught.value.reasons
    assert reason == (
        "staging google/t5 (float32): execution weights-1 failed: Task weights-0 failed with message: The "
        "container exited with an error; exit code 10 (gated): accept the model's licence on huggingface.co "
        "and set the Hub token (`llm:hubToken`). Log: https://console/logs. The next `pulumi up` stages anew."
    )
    assert caught.value.id == JOB
    assert caught.value.outputs["manifestSha256"] == ""


def test_a_failure_is_told_even_where_its_tasks_cannot_be_read(provider, google):
    google.outcome = 10
    google.faults[("GET", "/tasks")] = [403]
    with pytest.raises(InitializationFailed, match=r"weights-1 failed: .* exited with an error\. Log: "):
        create(provider)


def test_every_exit_code_of_the_contract_has_a_remedy():
    contract = Path(client.__file__).parents[2] / "images" / "weights" / "contract.json"
    codes = json.loads(contract.read_text())["exit_codes"]
    remedies = {name: explain(code).partition(": ")[2] for name, code in codes.items() if name != "ok"}
    assert [name for name, remedy in remedies.items() if remedy in ("", "see its log")] == []


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


def test_a_busy_google_is_asked_again_a_bounded_number_of_times(provider, google):
    google.faults[("GET", "/o")] = [503, 429, 500]
    assert create(provider).outputs["files"] == 2
    google.faults[("GET", "/o")] = [503] * 99
    with pytest.raises(ProviderError, match=r"listing gs://models/.*: Google answered 503"):
        create(provider)
    assert len(google.faults[("GET", "/o")]) == 99 - client.ATTEMPTS


@pytest.mark.usefixtures("provider")
def test_an_unreachable_google_is_named_after_all_attempts():
    nowhere = {"STORAGE_EMULATOR_HOST": "127.0.0.1:1"}
    provider = ModelopsProvider(google=Google(threading.Event(), nowhere, AnonymousCredentials()))
    with pytest.raises(ProviderError, match=r"listing gs://models/.*: cannot reach Google"):
        create(provider)


@pytest.mark.parametrize(
    ("fault", "role"),
    [
        (("POST", ":run"), r"roles/run\.developer on project p"),
        (("GET", "/executions"), r"roles/run\.viewer on project p"),
        (("GET", "/o"), r"roles/storage\.objectViewer on bucket models"),
    ],
)
def test_a_refusal_names_the_role_that_is_lacking_and_leaves_nothing_in_the_state(
    provider, google, fault, role
):
    google.faults[fault] = [403]
    with pytest.raises(ProviderError, match=rf"refused \(403\); whoever runs Pulumi needs {role}"):
        create(provider)


def test_a_missing_bucket_or_job_is_named(provider, google):
    google.jobs.clear()
    with pytest.raises(ProviderError, match=f"reading job {JOB}: not found"):
        create(provider)
    google.buckets.clear()
    with pytest.raises(ProviderError, match="The specified bucket does not exist"):
        create(provider)


def test_a_job_that_stages_something_else_is_not_run(provider, google):
    google.jobs[JOB]["template"]["labels"]["llm-target"] = "other"
    with pytest.raises(ProviderError, match="stages something else: its executions have llm-target=other"):
        create(provider)
    assert google.executions == {}


def test_a_preview_asks_google_nothing_and_leaves_unknown_what_only_the_files_tell(provider, google):
    foreseen = create(provider, {**INPUTS, "job": UNKNOWN}, preview=True)
    assert foreseen.id == ""
    assert foreseen.outputs["manifestSha256"] is UNKNOWN
    assert foreseen.outputs["target"] == TARGET
    assert update(provider, {**INPUTS, "revision": "def"}, preview=True)["files"] is UNKNOWN
    assert google.requests == []


def test_every_change_is_in_place_except_of_the_job(provider):
    intact = {**INPUTS, "manifestSha256": "x"}
    news = {**INPUTS, "target": TARGET + "-2", "revision": UNKNOWN, "targetLabel": "b" * 16}
    changed = diff(provider, news, intact)
    assert changed.replaces == []
    assert [change.path for change in changed.changes] == [("revision",), ("target",), ("targetLabel",)]
    assert diff(provider, {**INPUTS, "job": JOB + "2"}, intact).replaces == ["job"]
    assert diff(provider, INPUTS, intact).changes == []


def test_an_update_stages_the_new_model_and_leaves_the_old_one(provider, google):
    google.buckets["models"]["models/old/manifest.json"] = b"{}"
    outputs = update(provider, INPUTS, olds={**INPUTS, "target": "gs://models/models/old"})
    assert outputs["target"] == TARGET
    assert outputs["files"] == 2
    assert "models/old/manifest.json" in google.buckets["models"]


def test_a_change_of_retain_alone_asks_google_nothing(provider, google):
    outputs = update(provider, {**INPUTS, "retain": True})
    assert (outputs["retain"], outputs["manifestSha256"]) == (True, "x")
    assert google.requests == []


def test_refresh_of_a_whole_model_changes_nothing(provider):
    created = create(provider)
    found = read(provider)
    assert (found.id, found.inputs, found.outputs) == (JOB, INPUTS, created.outputs)


def test_weights_that_are_gone_altogether_are_gone_from_the_state(provider, google):
    assert read(provider) is None
    google.buckets.clear()
    assert read(provider) is None


def test_a_damaged_model_stays_in_the_state_and_the_next_up_stages_it_again(provider, google):
    google.stage()
    del google.buckets["models"][PREFIX + "model.safetensors"]
    found = read(provider)
    assert (found.inputs, found.outputs["files"], found.outputs["manifestSha256"]) == (INPUTS, 0, "")
    planned = diff(provider, INPUTS, found.outputs)
    assert [(change.path, change.kind) for change in planned.output_changes] == [
        (("manifestSha256",), Kind.UPDATE)
    ]
    assert update(provider, INPUTS, old_outputs=found.outputs)["files"] == 2


def test_an_execution_that_still_runs_keeps_the_resource_in_the_state(provider, google):
    google.begin(JOB)
    assert read(provider).outputs["files"] == 0


def test_an_import_reads_from_the_job_what_it_stages(provider, google):
    google.stage()
    found = read(provider, {})
    assert found.inputs == {**INPUTS, "retain": True}
    assert found.outputs["files"] == 2


def test_an_import_of_a_missing_or_a_foreign_job_is_told_apart(provider, google):
    google.jobs[JOB]["template"]["template"]["containers"][0]["args"] = ["serve"]
    with pytest.raises(ProviderError, match=f"job {JOB} cannot be imported: its arguments are not `stage"):
        read(provider, {})
    google.jobs.clear()
    assert read(provider, {}) is None


def test_delete_removes_the_objects_with_the_manifest_first(provider, google):
    google.stage()
    google.buckets["models"]["models/other/x"] = b""
    delete(provider)
    removed = [path.rpartition("/o/")[2] for method, path in google.requests if method == "DELETE"]
    assert removed[0].endswith("manifest.json")
    assert len(removed) == 3
    assert list(google.buckets["models"]) == ["models/other/x"]


def test_delete_keeps_the_objects_when_told_to_retain(provider, google):
    google.stage()
    delete(provider, {**INPUTS, "retain": True})
    assert len(google.buckets["models"]) == 3
    assert google.requests == []


def test_delete_stops_an_execution_that_would_write_again(provider, google):
    google.steps = 10**9
    google.begin(JOB)
    google.buckets["models"][PREFIX + "half"] = b"x"
    delete(provider)
    assert google.count("POST", ":cancel") == 1
    assert google.buckets["models"] == {}


def test_delete_keeps_the_objects_that_another_job_stages_too(provider, google):
    google.stage()
    second = JOB + "-second"
    google.jobs[second] = google.job(second)
    delete(provider)
    assert len(google.buckets["models"]) == 3


def test_delete_succeeds_where_bucket_and_job_are_gone(provider, google):
    google.jobs.clear()
    google.buckets.clear()
    delete(provider)
    assert google.count("DELETE", "") == 0


def test_inputs_are_checked_where_they_are_known(provider):
    inputs, reasons = check(
        provider,
        {
            "job": UNKNOWN,
            "target": "gs://bucket",
            "repository": 3,
            "revision": "abc",
            "format": "safetensors",
            "targetLabel": "Not A Label",
            "colour": "red",
        },
    )
    assert inputs["retain"] is True
    assert reasons == {
        "target": "'gs://bucket' is not gs://BUCKET/PREFIX without a trailing slash",
        "repository": "input should be a valid string, got 3",
        "dtype": "is required",
        "targetLabel": "'Not A Label' is not a label's value: 1 to 63 of a-z, 0-9, _ and -",
        "colour": "is no input of StagedModel",
    }
    assert check(provider, {**INPUTS, "target": UNKNOWN})[1] == {}


def test_a_type_that_the_provider_does_not_have_is_refused_by_name(provider):
    with pytest.raises(
        ProviderError, match="modelops has no resource a:b:C; it has modelops:index:StagedModel"
    ):
        asyncio.run(provider.check(CheckRequest("urn", "a:b:C", "x", {}, {})))


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0s"), (59.9, "59s"), (80, "1m20s"), (3600, "1h00m"), (7500, "2h05m")]
)
def test_time_spans_are_said_as_people_say_them(seconds, said):
    assert waiting.duration(seconds) == said
