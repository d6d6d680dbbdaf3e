"""A staged model afterwards: changes, refresh, import and deletion."""

import pytest

from providers.base.diff import Kind
from providers.base.errors import ProviderError
from providers.base.values import UNKNOWN
from tests.unit.modelops.calls import INPUTS, create, delete, diff, read, update
from tests.unit.modelops.fake_google import JOB, PREFIX, TARGET


def test_every_change_is_in_place_except_of_the_job(provider):
    intact = {**INPUTS, "manifestSha256": "x"}
    news = {**INPUTS, "target": TARGET + "-2", "revision": UNKNOWN, "targetLabel": "b" * 16}
    changed = diff(provider, news, intact)
    assert changed.replaces == []
    assert [change.path for change in changed.changes] == [("revision",), ("target",), ("targetLabel",)]
    assert diff(provider, {**INPUTS, "job": JOB + "2"}, intact).replaces == ["job"]
    assert diff(provider, {**INPUTS, "job": UNKNOWN}, intact).replaces == ["job"]
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


def test_delete_goes_on_where_the_execution_ends_before_it_can_be_stopped(provider, google):
    google.steps = 1
    google.begin(JOB)
    google.faults[("POST", ":cancel")] = [400]
    delete(provider)
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
