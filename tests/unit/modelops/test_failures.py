"""What a person is told when a model cannot be staged, and by whom it can be put right."""

import json
import threading
from pathlib import Path

import pytest
from google.auth.credentials import AnonymousCredentials

from providers.base.errors import InitializationFailed, ProviderError
from providers.modelops import client
from providers.modelops.client import Google
from providers.modelops.exit_codes import explain
from providers.modelops.provider import ModelopsProvider
from tests.unit.modelops.calls import create
from tests.unit.modelops.fake_google import JOB


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
    with pytest.raises(
        ProviderError, match=r"listing gs://models/.*: cannot reach Google .*run the command again"
    ):
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
