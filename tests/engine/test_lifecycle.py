"""A stack's life: first up, second up, model switch, removal, drift, destroy."""

from __future__ import annotations

from tests.engine.conftest import BASE, MakeLab
from tests.engine.lab import Lab, without_components

TWO = (
    BASE
    + """
    second:
      topology: cloud-run
      model: gpt2
"""
)
# What holds data or identity, by type: a model switch may change none of it.
KEPT = {
    "gcp:storage/bucket:Bucket",
    "gcp:artifactregistry/repository:Repository",
    "gcp:serviceaccount/account:Account",
    "gcp:secretmanager/secret:Secret",
    "gcp:storage/bucketIAMMember:BucketIAMMember",
}
SWITCHED = {
    "assistant-weights-job": "update",
    "assistant-weights-staged": "update",
    "assistant-service": "update",
}


def assert_up(lab: Lab) -> None:
    result = lab.up()
    assert not result.failed, result.output


def test_a_preview_needs_no_credential_and_touches_nothing(make_lab: MakeLab) -> None:
    lab = make_lab()
    before = [r.name for r in lab.world().list()]
    result = lab.preview()
    assert not result.failed, result.output
    assert result.changed()["assistant-service"] == "create"
    assert [r.name for r in lab.world().list()] == before


def test_a_first_up_stages_the_model_and_a_second_up_changes_nothing(make_lab: MakeLab) -> None:
    lab = make_lab()
    first = lab.up()
    assert not first.failed, first.output
    assert set(first.changed().values()) == {"create"}
    assert lab.executions() == 1
    staged = [o.name for o in lab.world().objects.list("llm-test-test-models", "")]
    assert {name.rsplit("/", 1)[1] for name in staged} == {
        "config.json",
        "manifest.json",
        "model.safetensors",
        "tokenizer.json",
    }
    second = lab.up()
    assert not second.failed, second.output
    assert second.changed() == {}
    assert lab.executions() == 1
    refreshed = lab.refresh()
    assert not refreshed.failed, refreshed.output
    assert refreshed.changed() == {}


def test_a_model_switch_updates_what_it_must_and_the_way_back_stages_nothing(make_lab: MakeLab) -> None:
    lab = make_lab()
    assert_up(lab)
    lab.set("llm:deployments.assistant.model", "gpt2")
    switch = lab.up()
    assert not switch.failed, switch.output
    assert without_components(switch.changed()) == SWITCHED
    assert switch.of("assistant-weights-staged").diffs == {"target", "repository", "revision", "targetLabel"}
    assert not [s for s in switch.steps if s.type in KEPT and s.op != "same"]
    assert lab.executions() == 2
    lab.set("llm:deployments.assistant.model", "google/flan-t5-small")
    back = lab.up()
    assert not back.failed, back.output
    assert without_components(back.changed()) == SWITCHED
    assert lab.executions() == 2


def test_the_switch_changes_these_inputs_of_the_service_and_no_others(make_lab: MakeLab) -> None:
    lab = make_lab()
    assert_up(lab)
    name = "run.googleapis.com/projects/llm-test/locations/us-central1/services/test-assistant"
    before = lab.world().get(name)
    lab.set("llm:deployments.assistant.model", "gpt2")
    assert_up(lab)
    after = lab.world().get(name)
    assert before is not None
    assert after is not None
    old, new = (r.body["template"]["containers"][0] for r in (before, after))
    changed = {e["name"] for e in new["env"] if e not in old["env"]}
    assert {"MODEL_PATH", "MODEL_NAME"} <= changed
    of_the_limits = {"MAX_INPUT_TOKENS", "MAX_NEW_TOKENS", "MAX_BATCH_TOKENS", "CACHE_TOKENS"}
    assert changed <= {"MODEL_PATH", "MODEL_NAME", *of_the_limits}
    # Another model may need another amount of memory; the service gets it in place.
    for container in (old, new):
        del container["resources"]["limits"]["memory"]
    assert {k: v for k, v in old.items() if k != "env"} == {k: v for k, v in new.items() if k != "env"}


def test_removing_one_of_two_deployments_touches_no_other(make_lab: MakeLab) -> None:
    lab = make_lab(TWO)
    assert_up(lab)
    lab.config(BASE)
    removed = lab.up()
    assert not removed.failed, removed.output
    changed = without_components(removed.changed())
    assert changed
    assert set(changed.values()) == {"delete"}
    assert all(name.startswith("second") for name in changed)


def test_adding_a_deployment_touches_no_other(make_lab: MakeLab) -> None:
    lab = make_lab()
    assert_up(lab)
    lab.config(TWO)
    added = lab.up()
    assert not added.failed, added.output
    changed = without_components(added.changed())
    assert set(changed.values()) == {"create"}
    assert all(name.startswith("second") for name in changed)


def test_a_service_edited_behind_the_stack_is_found_and_put_right(make_lab: MakeLab) -> None:
    lab = make_lab()
    assert_up(lab)
    name = "run.googleapis.com/projects/llm-test/locations/us-central1/services/test-assistant"

    def edit(body: dict) -> dict:
        body["template"]["scaling"]["maxInstanceCount"] = 77
        return body

    lab.world().edit(name, edit)
    refreshed = lab.refresh()
    assert not refreshed.failed, refreshed.output
    assert without_components(refreshed.changed()) == {"assistant-service": "update"}
    repaired = lab.up()
    assert not repaired.failed, repaired.output
    assert without_components(repaired.changed()) == {"assistant-service": "update"}
    record = lab.world().get(name)
    assert record is not None
    assert record.body["template"]["scaling"]["maxInstanceCount"] == 3


def test_weights_deleted_behind_the_stack_are_found_and_staged_again(make_lab: MakeLab) -> None:
    lab = make_lab()
    assert_up(lab)
    objects = lab.world().objects
    bucket = "llm-test-test-models"
    for found in objects.list(bucket, ""):
        objects.delete(bucket, found.name)
    refreshed = lab.refresh()
    assert not refreshed.failed, refreshed.output
    assert "assistant-weights-staged" in refreshed.changed()
    repaired = lab.up()
    assert not repaired.failed, repaired.output
    assert lab.executions() == 2
    assert objects.list(bucket, "")


def test_a_destroy_leaves_no_resource_and_no_object(make_lab: MakeLab) -> None:
    lab = make_lab(TWO)
    assert_up(lab)
    destroyed = lab.destroy()
    assert not destroyed.failed, destroyed.output
    assert [left for left in lab.rehearsal.leftovers() if not left.startswith("process")] == []


def test_enabled_apis_stay_enabled_after_a_destroy(make_lab: MakeLab) -> None:
    lab = make_lab()
    assert_up(lab)
    enabled = lab.names("serviceusage.service")
    assert not lab.destroy().failed
    assert enabled
    assert lab.names("serviceusage.service") == enabled
