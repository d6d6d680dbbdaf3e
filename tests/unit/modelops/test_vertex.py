"""A `StagedModel` that custom jobs of Vertex AI stage, and the way there from a Cloud Run job."""

import asyncio
import threading

import pytest
from google.auth.credentials import AnonymousCredentials

from providers.base.errors import InitializationFailed, ProviderError
from providers.base.provider import CheckRequest, CreateRequest
from providers.base.values import UNKNOWN
from providers.modelops.client import Google
from providers.modelops.vertex import VertexDefinition
from tests.unit.modelops.calls import INPUTS, TYPE, URN, check, create, delete, diff, read, update
from tests.unit.modelops.fake_google import LABEL, PREFIX, TARGET, FakeGoogle
from tests.unit.modelops.fake_vertex import CUSTOM_JOB, FakeVertex

ACCOUNT = "stager@p.iam.gserviceaccount.com"
DEFINITION = {
    "image": "l-docker.pkg.dev/p/images/weights@sha256:" + "a" * 64,
    "args": FakeGoogle.job("j")["template"]["template"]["containers"][0]["args"],
    "env": {"HF_TOKEN_SECRET": "projects/p/secrets/s/versions/latest"},
    "serviceAccount": ACCOUNT,
    "timeoutSeconds": 900,
    "labels": {"stack": "dev"},
    "machineType": "e2-highmem-2",
    "bootDiskGb": 100,
    "bootDiskType": "pd-standard",
}
ON_VERTEX = {**INPUTS, "job": CUSTOM_JOB, "definition": DEFINITION}
FAILED = "The replica workerpool0-0 exited with a non-zero status of 14. Termination reason: Error."
MORE = " To find out more about why your job exited please check the logs: https://console/x"


@pytest.fixture
def google():
    return FakeVertex()


def digest(**changes):
    return VertexDefinition.model_validate({**DEFINITION, **changes}).digest


def custom_job(label=LABEL, name="weights", **changes):
    containers = [{"containerSpec": {"args": DEFINITION["args"]}}]
    spec = {"workerPoolSpecs": containers, "serviceAccount": ACCOUNT}
    labels = {"llm-target": label, "llm-definition": digest(**changes)}
    return {"displayName": name, "labels": labels, "jobSpec": spec}


def test_a_custom_job_is_created_as_defined_and_waited_for(provider, google):
    created = create(provider, ON_VERTEX)
    assert created.id == CUSTOM_JOB
    assert created.outputs["files"] == 2
    assert {key: created.outputs[key] for key in ON_VERTEX} == ON_VERTEX
    (job,) = google.custom_jobs.values()
    assert job["displayName"] == "weights"
    assert job["labels"] == {"stack": "dev", "llm-target": LABEL, "llm-definition": digest()}
    assert job["jobSpec"] == {
        "workerPoolSpecs": [
            {
                "machineSpec": {"machineType": "e2-highmem-2"},
                "replicaCount": "1",
                "diskSpec": {"bootDiskType": "pd-standard", "bootDiskSizeGb": 100},
                "containerSpec": {
                    "imageUri": DEFINITION["image"],
                    "args": DEFINITION["args"],
                    "env": [{"name": "HF_TOKEN_SECRET", "value": DEFINITION["env"]["HF_TOKEN_SECRET"]}],
                },
            }
        ],
        "scheduling": {"timeout": "900s"},
        "serviceAccount": ACCOUNT,
    }


def test_nothing_runs_where_the_model_is_staged_already(provider, google):
    google.stage()
    assert create(provider, ON_VERTEX).outputs["files"] == 2
    assert google.custom_jobs == {}


def test_a_custom_job_that_an_interrupted_up_left_running_is_found_by_name_and_label(provider, google):
    google.create(custom_job())
    assert create(provider, ON_VERTEX).outputs["files"] == 2
    assert len(google.custom_jobs) == 1


def test_custom_jobs_for_another_target_and_ended_ones_are_not_waited_for(provider, google):
    google.create(custom_job(label="f" * 16))
    ended = google.create(custom_job())
    google.custom_jobs[ended["name"]] |= {"state": "JOB_STATE_FAILED", "endTime": "x"}
    assert create(provider, ON_VERTEX).outputs["files"] == 2
    assert len(google.custom_jobs) == 3


def test_a_custom_job_by_another_definition_is_stopped_before_the_new_one_is_created(provider, google):
    old = google.create(custom_job(image="another"))
    google.steps = 2
    assert create(provider, ON_VERTEX).outputs["files"] == 2
    assert google.custom_jobs[old["name"]]["state"] == "JOB_STATE_CANCELLED"
    (_, new) = google.custom_jobs.values()
    assert new["labels"]["llm-definition"] == digest() != digest(image="another")
    cancelled = next(i for i, asked in enumerate(google.requests) if ":cancel" in str(asked))
    created = [
        i for i, asked in enumerate(google.requests) if asked[0] == "POST" and ":cancel" not in str(asked)
    ]
    assert created
    assert created[0] > cancelled


def test_a_custom_job_by_another_definition_that_ends_well_meanwhile_is_taken(provider, google):
    google.steps = 1
    google.create(custom_job(image="another"))
    google.faults[("POST", ":cancel")] = [400]
    assert create(provider, ON_VERTEX).outputs["files"] == 2
    assert len(google.custom_jobs) == 1


def test_labels_alone_make_no_other_definition():
    assert digest(labels={"stack": "prod"}) == digest()
    assert len({digest(), digest(args=["stage"]), digest(env={}), digest(machineType="n1-highmem-2")}) == 4


def test_a_lost_answer_does_not_create_a_second_custom_job(provider, google):
    google.faults[("POST", "/customJobs")] = ["lost"]
    assert create(provider, ON_VERTEX).outputs["files"] == 2
    assert len(google.custom_jobs) == 1


def test_an_account_that_google_does_not_know_yet_is_waited_for(provider, google):
    google.refusal = (400, f"Service account {ACCOUNT} does not exist.")
    assert create(provider, ON_VERTEX).outputs["files"] == 2


def test_an_api_that_was_just_enabled_is_waited_for_and_not_taken_for_a_lacking_role(provider, google):
    google.refusal = (403, "Vertex AI API has not been used in project 1 before. (SERVICE_DISABLED)")
    assert create(provider, ON_VERTEX).outputs["files"] == 2


def test_another_refusal_is_not_repeated(provider, google):
    google.refusal = (400, "Machine type is not supported")
    with pytest.raises(ProviderError, match=r"creating custom job .*: Google answered 400: Machine type"):
        create(provider, ON_VERTEX)
    assert google.count("POST", "/customJobs") == 1


def test_a_refusal_names_both_roles_that_are_lacking(provider, google):
    google.faults[("POST", "/customJobs")] = [403]
    with pytest.raises(
        ProviderError,
        match=rf"roles/aiplatform\.user on project p and roles/iam\.serviceAccountUser on {ACCOUNT}",
    ):
        create(provider, ON_VERTEX)


@pytest.mark.parametrize(
    ("outcome", "says"),
    [
        (FAILED + MORE, rf"exit code 14 \(permission\): {ACCOUNT} needs .* on bucket models"),
        ("The replica workerpool0-0 ran out of memory and exited with a non-zero status of 9.", r"\(137\)"),
        ("Resources are insufficient in region: l.", "failed: Resources are insufficient in region: l. Log:"),
    ],
)
def test_a_failure_says_the_exit_code_its_remedy_and_where_the_log_is(provider, google, outcome, says):
    google.outcome = outcome
    with pytest.raises(InitializationFailed, match=says) as caught:
        create(provider, ON_VERTEX)
    (reason,) = caught.value.reasons
    assert "execution weights (1) failed" in reason
    assert "job_id%3D%221%22?project=12345." in reason
    assert "To find out more" not in reason
    google.outcome = "stage"
    assert update(provider, ON_VERTEX, ON_VERTEX, caught.value.outputs)["files"] == 2


def test_cancel_stops_waiting_and_the_next_up_finds_the_custom_job(provider, google):
    google.steps = 10**9

    async def interrupted():
        request = CreateRequest(URN, TYPE, "assistant", dict(ON_VERTEX))
        running = asyncio.ensure_future(provider.create(request))
        while not google.custom_jobs:
            await asyncio.sleep(0.01)
        await provider.cancel()
        await running

    with pytest.raises(InitializationFailed, match=r"execution weights \(1\) goes on") as caught:
        asyncio.run(interrupted())
    provider.cancelled.clear()
    next(iter(google.custom_jobs.values()))["steps"] = 1
    assert update(provider, ON_VERTEX, ON_VERTEX, caught.value.outputs)["files"] == 2
    assert len(google.custom_jobs) == 1


def test_delete_stops_the_custom_job_and_removes_what_it_wrote(provider, google):
    google.steps = 10**9
    google.create(custom_job())
    google.buckets["models"][PREFIX + "half"] = b"x"
    delete(provider, ON_VERTEX)
    assert google.count("POST", ":cancel") == 1
    assert google.buckets["models"] == {}


def test_delete_goes_on_where_the_custom_job_ends_before_it_can_be_stopped(provider, google):
    google.steps = 1
    google.create(custom_job())
    google.faults[("POST", ":cancel")] = [400]
    delete(provider, ON_VERTEX)
    assert google.buckets["models"] == {}


def test_delete_stops_where_the_custom_job_cannot_be_stopped(provider, google):
    google.steps = 10**9
    google.create(custom_job())
    google.faults[("POST", ":cancel")] = [403]
    with pytest.raises(ProviderError, match=r"stopping custom job .*: refused \(403\)"):
        delete(provider, ON_VERTEX)


def test_delete_keeps_what_another_running_custom_job_stages_too(provider, google):
    google.stage()
    google.steps = 10**9
    google.create(custom_job(name="second"))
    google.create(custom_job(name="other", label="f" * 16))
    delete(provider, ON_VERTEX)
    assert len(google.buckets["models"]) == 3


def test_delete_keeps_what_the_program_has_under_another_name(provider, google):
    google.stage()
    asyncio.run(provider.check(CheckRequest(URN + "-renamed", TYPE, "renamed", {}, ON_VERTEX)))
    delete(provider, ON_VERTEX)
    assert len(google.buckets["models"]) == 3
    asyncio.run(
        provider.check(
            CheckRequest(URN + "-renamed", TYPE, "renamed", {}, {**ON_VERTEX, "target": TARGET + "2"})
        )
    )
    delete(provider, ON_VERTEX)
    assert google.buckets["models"] == {}


def test_refresh_finds_the_files_and_an_import_reads_the_newest_custom_job(provider, google):
    google.stage()
    assert read(provider, ON_VERTEX).inputs == ON_VERTEX
    google.create(custom_job())
    found = read(provider, {}, CUSTOM_JOB)
    assert found.inputs == {**INPUTS, "job": CUSTOM_JOB, "retain": True}
    google.custom_jobs.clear()
    assert read(provider, {}, CUSTOM_JOB) is None


# --- From and to a Cloud Run job ---


def test_a_state_from_before_there_were_runners_is_taken_as_it_is(provider):
    old = {**INPUTS, "files": 2, "manifestSha256": "x"}
    assert diff(provider, INPUTS, old).changes == []
    assert check(provider, INPUTS) == (INPUTS, {})


def test_another_platform_changes_in_place_and_stages_nothing_again(provider, google):
    intact = {**INPUTS, "files": 2, "totalBytes": 9, "manifestSha256": "x", "toolVersion": "weights/1"}
    changed = diff(provider, ON_VERTEX, intact)
    assert changed.replaces == []
    assert {change.path[0] for change in changed.changes} == {"job", "definition"}
    outputs = update(provider, ON_VERTEX, INPUTS, intact)
    assert outputs == {**intact, "job": CUSTOM_JOB, "definition": DEFINITION}
    assert diff(provider, {**INPUTS, "job": UNKNOWN}, intact, ON_VERTEX).replaces == []
    assert "definition" not in update(provider, INPUTS, ON_VERTEX, outputs)
    assert google.requests == []


def test_another_image_in_the_definition_stages_nothing_again(provider, google):
    news = {**ON_VERTEX, "definition": {**DEFINITION, "image": "another"}}
    intact = {**ON_VERTEX, "files": 2, "manifestSha256": "x"}
    assert diff(provider, news, intact, ON_VERTEX).replaces == []
    assert update(provider, news, ON_VERTEX, intact)["definition"]["image"] == "another"
    assert google.requests == []


def test_another_name_on_the_same_platform_replaces(provider):
    intact = {**ON_VERTEX, "manifestSha256": "x"}
    assert diff(provider, {**ON_VERTEX, "job": CUSTOM_JOB + "2"}, intact, ON_VERTEX).replaces == ["job"]


def test_a_definition_is_checked_where_it_is_known_and_only_where_it_belongs(provider):
    assert check(provider, {**ON_VERTEX, "definition": UNKNOWN})[1] == {}
    assert check(provider, {**INPUTS, "job": CUSTOM_JOB})[1] == {
        "definition": "is required for a job of Vertex AI"
    }
    assert check(provider, {**INPUTS, "definition": DEFINITION})[1] == {
        "definition": "is not for a job of Cloud Run, which keeps its own"
    }
    wrong = {**DEFINITION, "bootDiskGb": 0, "colour": "red", "env": {"1X": "y"}}
    del wrong["image"]
    reasons = check(provider, {**ON_VERTEX, "definition": wrong})[1]
    assert reasons["definition.image"] == "is required"
    assert reasons["definition.colour"] == "is no input of StagedModel"
    assert "greater than or equal to 1" in reasons["definition.bootDiskGb"]
    assert len(reasons) == 4
    said = check(provider, {**ON_VERTEX, "job": "weights"})[1]["job"]
    assert "'weights' is not a job's full name, projects/PROJECT/locations/LOCATION/jobs/JOB or" in said


def test_each_region_has_its_own_address():
    google = Google(threading.Event(), {}, AnonymousCredentials())
    jobs = google.service("aiplatform", "us-east1").projects().locations().customJobs()
    assert jobs.get(name=CUSTOM_JOB).uri.startswith("https://us-east1-aiplatform.googleapis.com/v1/")
    assert google.service("run") is google.service("run")
