"""A deployment whose weights are staged by a custom job of Vertex AI: its life, and an interruption."""

from __future__ import annotations

import json

from rehearsal.cloud.custom_jobs import KIND
from tests.engine.background import BackgroundUp, engine_processes, the_line, until
from tests.engine.conftest import BASE, MakeLab
from tests.engine.lab import Lab, without_components
from tests.engine.test_lifecycle import KEPT, assert_up
from tests.engine.troubled_hub import TroubledHub

ON_VERTEX = f"{BASE}      weights: {{runner: vertex}}\n"
GATED = """
  gcp:project: llm-test
  gcp:region: us-central1
  llm:environment: local
  llm:hubTokenSecret: shared-token
  llm:deployments:
    assistant:
      topology: cloud-run
      model: google/gemma-3-1b-it
      weights: {runner: vertex}
"""
GET = "aiplatform.projects.locations.customJobs.get"


def custom_jobs(lab: Lab) -> dict[str, str]:
    """State by the number of the custom job."""
    return {each.name.rpartition("/")[2]: each.body["state"] for each in lab.world().list(KIND)}


def assert_destroyed(lab: Lab) -> None:
    destroyed = lab.destroy()
    assert not destroyed.failed, destroyed.output
    assert [left for left in lab.rehearsal.leftovers() if not left.startswith("process")] == []


def test_a_custom_job_stages_once_and_a_switch_of_the_model_is_in_place(make_lab: MakeLab) -> None:
    lab = make_lab(ON_VERTEX)
    first = lab.up()
    assert not first.failed, first.output
    assert "assistant-weights-job" not in first.changed()
    assert lab.names("run.job") == []
    assert list(custom_jobs(lab).values()) == ["JOB_STATE_SUCCEEDED"]
    (job,) = lab.world().list(KIND)
    pool = job.body["jobSpec"]["workerPoolSpecs"][0]
    assert pool["machineSpec"] == {"machineType": "e2-highmem-2"}
    assert pool["containerSpec"]["args"][0] == "stage"
    staged = {each.name.rpartition("/")[2] for each in lab.world().objects.list("llm-test-test-models", "")}
    assert {"manifest.json", "model.safetensors"} <= staged

    second = lab.up()
    assert not second.failed, second.output
    assert second.changed() == {}
    refreshed = lab.refresh()
    assert not refreshed.failed, refreshed.output
    assert refreshed.changed() == {}
    assert len(custom_jobs(lab)) == 1

    lab.set("llm:deployments.assistant.model", "gpt2")
    switch = lab.up()
    assert not switch.failed, switch.output
    assert without_components(switch.changed()) == {
        "assistant-weights-staged": "update",
        "assistant-service": "update",
    }
    assert list(custom_jobs(lab).values()) == ["JOB_STATE_SUCCEEDED"] * 2
    assert_destroyed(lab)


def test_another_runner_replaces_nothing_and_stages_nothing_again(make_lab: MakeLab) -> None:
    lab = make_lab(BASE.replace("llm:environment: local", "llm:environment: staging"))
    assert_up(lab)
    assert lab.executions() == 1
    objects = [(o.name, o.generation) for o in lab.world().objects.list("llm-test-test-models", "")]

    lab.set("llm:deployments.assistant.weights.runner", "vertex")
    over = lab.up()
    assert not over.failed, over.output
    assert without_components(over.changed()) == {
        "foundation-api-aiplatform": "create",
        "assistant-weights-job": "delete",
        "assistant-weights-staged": "update",
    }
    lab.set("llm:deployments.assistant.weights.runner", "cloud-run")
    back = lab.up()
    assert not back.failed, back.output
    changed = without_components(back.changed())
    assert (changed["assistant-weights-job"], changed["assistant-weights-staged"]) == ("create", "update")
    for result in (over, back):
        assert not [step for step in result.steps if step.type in KEPT and step.op != "same"]
    assert custom_jobs(lab) == {}
    assert lab.executions() == 0, "the job's execution went with it, and there was no other"
    assert [(o.name, o.generation) for o in lab.world().objects.list("llm-test-test-models", "")] == objects


def test_an_up_that_was_interrupted_finds_its_custom_job_again(lab: Lab, troubled: TroubledHub) -> None:
    lab.config(ON_VERTEX)
    troubled.hold()
    interrupted = BackgroundUp(lab)
    interrupted.go_on_until(troubled.keeps_waiting, "a custom job that downloads")
    ((number, state),) = custom_jobs(lab).items()
    assert state == "JOB_STATE_RUNNING"
    interrupted.go_on_until(lambda: watches(lab, number), "an up that watches it")
    interrupted.press_ctrl_c()
    assert interrupted.wait() != 0
    said = the_line(interrupted.output(), "goes on")
    assert number in said
    assert custom_jobs(lab) == {number: "JOB_STATE_RUNNING"}
    until(lambda: not engine_processes(lab), "the end of the engine's plugins")

    before = watches(lab, number)
    following = BackgroundUp(lab)
    following.go_on_until(lambda: watches(lab, number) > before, "an up that waits for the custom job")
    troubled.release()
    assert following.wait() == 0, following.output()
    assert custom_jobs(lab) == {number: "JOB_STATE_SUCCEEDED"}
    assert_destroyed(lab)


def test_a_custom_job_reads_the_hub_token_itself_and_the_state_never_holds_it(make_lab: MakeLab) -> None:
    lab = make_lab(GATED)
    world = lab.world()
    number = world.ensure_project("llm-test").body["number"]
    secret = "secretmanager.googleapis.com/projects/llm-test/secrets/shared-token"
    world.insert("secretmanager.secret", secret, {"name": f"projects/{number}/secrets/shared-token"})
    world.insert("secretmanager.version", f"{secret}/versions/1", {"state": "ENABLED"})
    world.secrets.put(f"{secret}/versions/1", b"hf_rehearsed_token")
    first = lab.up()
    assert not first.failed, first.output
    assert list(custom_jobs(lab).values()) == ["JOB_STATE_SUCCEEDED"]
    (job,) = world.list(KIND)
    env = job.body["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["env"]
    reference = "projects/llm-test/secrets/shared-token/versions/latest"
    assert env == [{"name": "HF_TOKEN_SECRET", "value": reference}]
    assert "hf_rehearsed_token" not in lab.state() + json.dumps([each.body for each in world.list()])


def watches(lab: Lab, number: str) -> int:
    """How often somebody asked how the custom job stands."""
    return sum(call.operation == GET and call.target.endswith(number) for call in lab.world().calls())
