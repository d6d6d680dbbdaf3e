"""Custom jobs and pipeline runs of a rehearsed Vertex AI."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from providers.base.errors import InitializationFailed, ProviderError
from providers.base.provider import CreateRequest
from rehearsal.cloud.aiplatform.listing import CONSISTENCY
from tests.unit.cloud_world import ACCOUNT, BUCKET, LOCATION, Running
from tests.unit.test_vertexai_inputs import PIPELINE
from tests.unit.vertexai import JOB, Cloud, Engine, Killed, Properties, kill_after, provider, with_args

job, run = Engine("CustomJob", "train"), Engine("PipelineRun", "train")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Cloud.started(tmp_path_factory.mktemp("vertex")) as started:
        yield started


@pytest.fixture
def cloud(running: Running) -> Iterator[Cloud]:
    with Cloud.used(running) as used:
        yield used


def jobs(cloud: Cloud) -> dict[str, str]:
    listed = cloud.locations.customJobs().list(parent=LOCATION).execute().get("customJobs", [])
    return {each["name"].rpartition("/")[2]: each["state"].removeprefix("JOB_STATE_") for each in listed}


def test_a_job_is_waited_for_and_says_where_its_log_is(cloud: Cloud) -> None:
    made = job.create(JOB)
    assert made.id.startswith(f"{LOCATION}/customJobs/")
    assert (made.outputs["state"], made.outputs["name"]) == ("SUCCEEDED", made.id)
    assert made.id.rpartition("/")[2] in made.outputs["logsUri"]
    found = job.read(made.id, job.check(JOB)[0], made.outputs)
    assert found is not None
    assert (found.inputs, found.outputs) == (job.check(JOB)[0], made.outputs)
    imported = job.read(made.id, {}, {})
    assert imported is not None
    assert imported.inputs == job.check(JOB)[0]
    job.delete(made.id, made.outputs)
    assert jobs(cloud) == {}
    assert job.read(made.id, {}, {}) is None
    job.delete(made.id, made.outputs)


def test_every_change_but_of_the_wait_is_another_job_and_the_old_one_goes_first() -> None:
    outputs = {**JOB, "wait": True, "state": "SUCCEEDED"}
    for name in ("displayName", "labels", "project"):
        planned = job.diff(JOB, outputs, {**JOB, name: {"a": "b"} if name == "labels" else "other"})
        assert planned.replaces == ["labels.a" if name == "labels" else name]
        assert planned.delete_before_replace
    assert job.diff(JOB, outputs, with_args("exit", "1")).replaces
    assert job.diff(JOB, outputs, {**JOB, "wait": False}).replaces == []


def test_a_job_that_fails_stays_in_the_state_and_the_next_up_runs_it_anew(cloud: Cloud) -> None:
    with pytest.raises(
        InitializationFailed, match=r"ended as FAILED: .*status of 3.* Log: https://"
    ) as caught:
        job.create(with_args("exit", "3"))
    outputs = caught.value.outputs
    assert outputs["state"] == "FAILED"
    planned = job.diff(with_args("exit", "3"), outputs, with_args("exit", "3"))
    assert (planned.replaces, planned.delete_before_replace) == (["state"], True)
    job.delete(caught.value.id, outputs)
    assert jobs(cloud) == {}


def test_a_job_that_is_not_waited_for_shows_its_state_at_a_refresh(cloud: Cloud) -> None:
    news = {**with_args("exit", "3"), "wait": False}
    made = job.create(news)
    with pytest.raises(InitializationFailed, match="ended as FAILED"):
        job.update(made.id, news, made.outputs, {**news, "wait": True})
    found = job.read(made.id, job.check(news)[0], made.outputs)
    assert found is not None
    assert found.outputs["state"] == "FAILED"
    assert job.diff(news, found.outputs, news).output_changes == []


def test_an_interrupt_cancels_the_job(cloud: Cloud) -> None:
    inputs = job.check(with_args("sleep", "600"))[0]

    async def interrupted() -> None:
        own = provider()
        creating = asyncio.ensure_future(own.create(CreateRequest(job.urn, job.type, "train", inputs)))
        while "RUNNING" not in jobs(cloud).values():
            await asyncio.sleep(0.05)
        await own.cancel()
        await creating

    with pytest.raises(InitializationFailed, match="interrupted and cancelled") as caught:
        asyncio.run(interrupted())
    assert job.diff(inputs, caught.value.outputs, inputs).replaces == ["state"]
    job.delete(caught.value.id, caught.value.outputs)
    assert jobs(cloud) == {}


def test_a_job_that_takes_longer_than_the_timeout_goes_on_and_is_waited_for_again(cloud: Cloud) -> None:
    news = with_args("sleep", "3")
    with pytest.raises(InitializationFailed, match=r"still runs after 0s and goes on") as caught:
        job.create(news, timeout=0.5)
    assert job.diff(news, caught.value.outputs, news).replaces == []
    assert job.update(caught.value.id, news, caught.value.outputs, news)["state"] == "SUCCEEDED"
    assert len(jobs(cloud)) == 1


@pytest.mark.parametrize("late", [0, 2])
def test_a_job_whose_creation_nobody_heard_of_is_found_again(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, late: int
) -> None:
    """Also where lists are late: the one that is created in vain is called off, then deleted too."""
    cloud.running.world.set_setting(CONSISTENCY, late)
    # A display name may have any character, and so is nothing to look for them by.
    news = {**with_args("sleep", "9" if late else "0.1"), "displayName": 'the "first"'}
    kill_after(monkeypatch, "customJobs.create")
    with pytest.raises(Killed):
        job.create(news)
    made = job.create(news)
    cloud.running.world.set_setting(CONSISTENCY, 0)
    states = jobs(cloud)
    assert states[made.id.rpartition("/")[2]] == "SUCCEEDED"
    assert sorted(states.values()) == (["CANCELLED", "SUCCEEDED"] if late else ["SUCCEEDED"])
    job.delete(made.id, made.outputs)
    assert jobs(cloud) == {}


def spec(seconds: float = 0.0) -> Properties:
    """A pipeline of one step, as a compiler writes it."""
    image = JOB["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["imageUri"]
    return {
        "pipelineInfo": {"name": "p"},
        "schemaVersion": "2.1.0",
        "root": {"dag": {"tasks": {"a": {"componentRef": {"name": "a"}, "taskInfo": {"name": "a"}}}}},
        "components": {"a": {"executorLabel": "a"}},
        "deploymentSpec": {
            "executors": {"a": {"container": {"image": image, "args": ["sleep", str(seconds)]}}}
        },
    }


def pipeline(**changes: object) -> Properties:
    return {
        **PIPELINE,
        "pipelineRoot": f"gs://{BUCKET}/runs",
        "serviceAccount": ACCOUNT,
        "template": spec(),
        **changes,
    }


def test_a_pipeline_run_returns_once_submitted_and_a_refresh_reports_its_state(cloud: Cloud) -> None:
    news = pipeline()
    made = run.create(news)
    assert made.id == f"{LOCATION}/pipelineJobs/train-1"
    assert run.diff(news, made.outputs, news).changes == []
    waited = run.update(made.id, news, made.outputs, {**news, "wait": True})
    assert waited["state"] == "SUCCEEDED"
    found = run.read(made.id, run.check(news)[0], made.outputs)
    assert found is not None
    assert (found.inputs, found.outputs["state"]) == (run.check(news)[0], "SUCCEEDED")
    imported = run.read(made.id, {}, {})
    assert imported is not None
    assert imported.inputs == run.check(news)[0]
    run.delete(made.id, made.outputs)
    assert run.read(made.id, {}, {}) is None


def test_a_run_is_found_again_by_its_id_and_another_run_of_that_id_is_refused(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_after(monkeypatch, "pipelineJobs.create")
    with pytest.raises(Killed):
        run.create(pipeline(template=spec(600)))
    made = run.create(pipeline(template=spec(600)))
    assert cloud.calls("pipelineJobs.create") == 1
    with pytest.raises(ProviderError, match="exists already and is another one: choose another runId"):
        run.create(pipeline())
    run.delete(made.id, made.outputs)
    assert run.read(made.id, {}, {}) is None


def test_a_template_in_a_bucket_is_read_when_the_run_is_submitted(cloud: Cloud) -> None:
    cloud.running.world.objects.put(BUCKET, "p.json", json.dumps({"pipelineSpec": spec()}).encode())
    made = run.create(pipeline(template=f"gs://{BUCKET}/p.json"))
    shown = cloud.locations.pipelineJobs().get(name=made.id).execute()
    assert shown["pipelineSpec"]["pipelineInfo"] == {"name": "p"}
    cloud.running.world.objects.put(BUCKET, "q.json", b"[]")
    with pytest.raises(ProviderError, match=r"q\.json is no compiled pipeline: it holds no mapping"):
        run.create(pipeline(template=f"gs://{BUCKET}/q.json", runId="other"))
