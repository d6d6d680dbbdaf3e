"""A model in the registry of a rehearsed Vertex AI, by the provider and by Google's own client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from providers.base.errors import ProviderError
from providers.base.provider import CreateResponse
from providers.base.values import UNKNOWN, Secret
from tests.unit.cloud_world import LOCATION, Running
from tests.unit.vertexai import (
    MODEL,
    MODEL_NAME,
    Cloud,
    Engine,
    Killed,
    Properties,
    kill_after,
    provider,
    with_env,
)

model = Engine("Model")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Cloud.started(tmp_path_factory.mktemp("vertex")) as started:
        yield started


@pytest.fixture
def cloud(running: Running) -> Iterator[Cloud]:
    with Cloud.used(running) as used:
        yield used


def get(cloud: Cloud, name: str = MODEL_NAME) -> Properties:
    found: Properties = cloud.locations.models().get(name=name).execute()
    return found


def versions(cloud: Cloud) -> list[str]:
    listed = cloud.locations.models().listVersions(name=MODEL_NAME).execute()["models"]
    return sorted(each["versionId"] for each in listed)


def refreshed(made: CreateResponse, news: Properties = MODEL) -> Any:
    return model.read(made.id, model.check(news)[0], made.outputs)


def test_a_model_is_uploaded_and_a_second_look_finds_nothing_to_do(cloud: Cloud) -> None:
    news = {**MODEL, "versionAliases": ["stable"], "metrics": {"eval_rougeL": 41.25, "loss": None}}
    made = model.create(news)
    assert made.id == MODEL_NAME
    assert made.outputs["versionResourceName"] == f"{MODEL_NAME}@1"
    shown = get(cloud)
    assert sorted(shown["versionAliases"]) == ["default", "stable"]
    assert shown["containerSpec"]["env"] == [{"name": "MODE", "value": "one"}]
    labels = shown["labels"]
    assert (labels["stack"], labels["metric-eval_rougel"], labels["metric-loss"]) == ("dev", "41_25", "none")
    found = refreshed(made, news)
    assert (found.inputs, found.outputs) == (model.check(news)[0], made.outputs)
    assert model.diff(news, made.outputs, news).changes == []
    assert model.diff(news, made.outputs, news).output_changes == []


def test_what_can_change_changes_in_place_and_uploads_nothing(cloud: Cloud) -> None:
    made = model.create({**MODEL, "versionAliases": ["old", "both"]})
    news = {
        **MODEL,
        "displayName": "Other",
        "description": "for people",
        "labels": {"stack": "prod"},
        "versionAliases": ["both", "new"],
        "metrics": {"loss": 0.5},
    }
    assert model.diff(MODEL, made.outputs, news).replaces == []
    outputs = model.update(made.id, MODEL, made.outputs, news)
    assert outputs["versionId"] == "1"
    shown = get(cloud)
    assert (shown["displayName"], shown["description"]) == ("Other", "for people")
    assert sorted(shown["versionAliases"]) == ["both", "default", "new"]
    assert (shown["labels"]["stack"], shown["labels"]["metric-loss"]) == ("prod", "0_5")
    assert cloud.calls("upload") == 1


def test_another_container_is_another_version_and_going_back_uploads_nothing(cloud: Cloud) -> None:
    made = model.create(MODEL)
    two = with_env("two")
    foretold = model.update(made.id, MODEL, made.outputs, two, preview=True)
    assert foretold["versionResourceName"] is UNKNOWN
    outputs = model.update(made.id, MODEL, made.outputs, two)
    assert outputs["versionResourceName"] == f"{MODEL_NAME}@2"
    assert get(cloud)["versionId"] == "2"
    back = model.update(made.id, two, outputs, MODEL)
    assert (back["versionId"], get(cloud)["versionId"], cloud.calls("upload")) == ("1", "1", 2)
    same = model.update(made.id, MODEL, back, {**MODEL, "labels": {}}, preview=True)
    assert same["versionId"] == "1"


def test_another_id_region_or_project_is_another_model() -> None:
    for change in ({"modelId": "b"}, {"location": "europe-west4"}, {"project": "other"}):
        assert model.diff(MODEL, {**MODEL, "versionId": "1"}, {**MODEL, **change}).replaces == list(change)


def test_an_upload_whose_answer_nobody_heard_is_found_again(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_after(monkeypatch, "models.upload")
    with pytest.raises(Killed):
        model.create(MODEL)
    made = model.create(MODEL)
    assert (made.outputs["versionId"], versions(cloud)) == ("1", ["1"])
    kill_after(monkeypatch, "models.upload")
    with pytest.raises(Killed):
        model.update(made.id, MODEL, made.outputs, with_env("two"))
    outputs = model.update(made.id, MODEL, made.outputs, with_env("two"))
    assert (outputs["versionId"], versions(cloud)) == ("2", ["1", "2"])


@pytest.mark.parametrize("method", ["models.patch", "models.mergeVersionAliases"])
def test_an_update_that_was_killed_goes_on(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    made = model.create(MODEL)
    news = {**MODEL, "displayName": "Other", "versionAliases": ["new"], "labels": {}}
    kill_after(monkeypatch, method)
    with pytest.raises(Killed):
        model.update(made.id, MODEL, made.outputs, news)
    model.update(made.id, MODEL, made.outputs, news)
    shown = get(cloud)
    assert (shown["displayName"], sorted(shown["versionAliases"])) == ("Other", ["default", "new"])
    assert "stack" not in shown["labels"]


def test_a_model_of_somebody_else_is_never_taken(cloud: Cloud) -> None:
    body = {"model": {"displayName": "x", "containerSpec": {"imageUri": MODEL["containerSpec"]["imageUri"]}}}
    models = cloud.locations.models()
    begun = models.upload(parent=LOCATION, body={**body, "modelId": "assistant"}).execute()
    models.operations().wait(name=begun["name"]).execute()
    said = r"was not made by this resource: .* `pulumi import modelops:vertex:Model assistant projects/"
    with pytest.raises(ProviderError, match=said):
        model.create(MODEL)


def test_a_refresh_finds_what_was_changed_behind_its_back(cloud: Cloud) -> None:
    made = model.create(MODEL)
    models = cloud.locations.models()
    models.patch(name=MODEL_NAME, updateMask="displayName", body={"displayName": "Mine"}).execute()
    models.mergeVersionAliases(name=f"{MODEL_NAME}@1", body={"versionAliases": ["mine"]}).execute()
    found = refreshed(made)
    assert (found.inputs["displayName"], found.inputs["versionAliases"]) == ("Mine", ["mine"])
    model.update(made.id, found.inputs, found.outputs, MODEL)
    assert get(cloud)["displayName"] == "Assistant"
    assert get(cloud)["versionAliases"] == ["default"]


def test_a_label_that_somebody_gave_to_all_versions_goes(cloud: Cloud) -> None:
    made = model.create(MODEL)
    theirs = {"labels": {"theirs": "1"}}
    cloud.locations.models().patch(name=MODEL_NAME, updateMask="labels", body=theirs).execute()
    found = refreshed(made)
    assert found.inputs["labels"] == {"stack": "dev", "theirs": "1"}
    model.update(made.id, found.inputs, found.outputs, MODEL)
    assert refreshed(made).inputs["labels"] == {"stack": "dev"}


def test_a_version_that_somebody_deleted_is_uploaded_again(cloud: Cloud) -> None:
    made = model.create(MODEL)
    outputs = model.update(made.id, MODEL, made.outputs, with_env("two"))
    back = model.update(made.id, with_env("two"), outputs, MODEL)
    models = cloud.locations.models()
    models.mergeVersionAliases(name=f"{MODEL_NAME}@2", body={"versionAliases": ["default"]}).execute()
    begun = models.deleteVersion(name=f"{MODEL_NAME}@1").execute()
    models.operations().wait(name=begun["name"]).execute()
    found = model.read(made.id, model.check(MODEL)[0], back)
    assert found is not None
    assert found.outputs["versionId"] == ""
    planned = model.diff(MODEL, found.outputs, MODEL)
    assert [change.path for change in planned.output_changes] == [("versionId",)]
    assert model.update(made.id, MODEL, found.outputs, MODEL)["versionId"] == "3"


def test_a_model_is_imported_as_it_is(cloud: Cloud) -> None:
    model.create({**MODEL, "metrics": {"loss": 0.5}})
    found = model.read(MODEL_NAME, {}, {})
    assert found is not None
    assert found.inputs == model.check({**MODEL, "metrics": {"loss": 0.5}})[0]
    assert model.read(f"{LOCATION}/models/none", {}, {}) is None


def test_delete_removes_the_model_with_all_versions_and_again_is_no_error(cloud: Cloud) -> None:
    made = model.create(MODEL)
    outputs = model.update(made.id, MODEL, made.outputs, with_env("two"))
    model.delete(made.id, outputs)
    assert model.read(made.id, {}, {}) is None
    model.delete(made.id, outputs)


def test_a_forced_replacement_does_not_delete_what_it_has_just_found_again(cloud: Cloud) -> None:
    model.create(MODEL)
    replacing = provider()
    made = model.create(MODEL, by=replacing)
    model.delete(made.id, made.outputs, by=replacing)
    assert versions(cloud) == ["1"]


def test_a_secret_variable_stays_secret_in_the_outputs(cloud: Cloud) -> None:
    spec = {**MODEL["containerSpec"], "env": {"MODE": Secret("one")}}
    made = model.create({**MODEL, "containerSpec": spec})
    assert made.outputs["containerSpec"]["env"]["MODE"] == Secret("one")
    found = refreshed(made, {**MODEL, "containerSpec": spec})
    assert found.inputs["containerSpec"]["env"]["MODE"] == Secret("one")
