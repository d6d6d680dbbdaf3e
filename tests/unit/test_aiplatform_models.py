"""Models of the rehearsed Vertex AI: upload, versions, aliases, lists; as Google's own client sees them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from googleapiclient.errors import HttpError

from rehearsal.cloud.aiplatform.artifacts import KIND as ARTIFACTS
from rehearsal.cloud.aiplatform.listing import CONSISTENCY
from rehearsal.world import Fault
from tests.unit.aiplatform_world import IMAGE, Vertex, emptied, model, started
from tests.unit.cloud_world import BUCKET, LOCATION, PROJECT, Running

_UPLOAD = "aiplatform.projects.locations.models.upload"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with started(tmp_path_factory.mktemp("vertex")) as cloud:
        yield cloud


@pytest.fixture
def vertex(running: Running) -> Iterator[Vertex]:
    made = Vertex(running)
    yield made
    emptied(running, made.api.projects().locations())


def refusal(request: Any) -> tuple[int, str]:
    with pytest.raises(HttpError) as caught:
        request.execute()
    return int(caught.value.resp.status), str(caught.value.reason)


def aliases(vertex: Vertex, name: str) -> dict[str, list[str]]:
    listed = vertex.models.listVersions(name=name).execute()["models"]
    return {each["versionId"]: each["versionAliases"] for each in listed}


def test_a_model_keeps_its_request_and_its_artifacts_are_copied_at_the_upload(vertex):
    made = vertex.upload(modelId="tiny", artifactUri=f"gs://{BUCKET}/models/tiny", labels={"metric": "0-91"})
    number = vertex.world.ensure_project(PROJECT).body["number"]
    assert made["model"] == f"projects/{number}/locations/us-central1/models/tiny"
    assert made["modelVersionId"] == "1"
    found = vertex.models.get(name=f"{LOCATION}/models/tiny").execute()
    assert found["labels"] == {"metric": "0-91"}
    assert found["containerSpec"] == model()["containerSpec"]
    assert (found["versionId"], found["versionAliases"]) == ("1", ["default"])
    (copy,) = vertex.world.list(ARTIFACTS)
    vertex.world.objects.delete(BUCKET, "models/tiny/weights.bin")
    own = copy.name.rpartition("/")[2]
    assert [meta.name for meta in vertex.world.objects.list(own)] == ["artifacts/weights.bin"]
    vertex.finish(vertex.models.delete(name=found["name"]))
    assert vertex.world.list(ARTIFACTS) == []
    assert refusal(vertex.models.get(name=found["name"]))[0] == 404


def test_versions_have_aliases_that_move_and_only_what_nothing_points_at_is_deleted(vertex):
    name = vertex.upload(modelId="tiny")["model"]
    status, _ = refusal(vertex.models.upload(parent=LOCATION, body={"model": model(), "modelId": "tiny"}))
    assert status == 409
    assert vertex.upload(parentModel=name, versionAliases=["golden"])["modelVersionId"] == "2"
    assert aliases(vertex, name) == {"1": ["default"], "2": ["golden"]}
    assert vertex.models.get(name=f"{name}@golden").execute()["versionId"] == "2"
    move = {"versionAliases": ["default", "-golden"]}
    vertex.models.mergeVersionAliases(name=f"{name}@2", body=move).execute()
    assert aliases(vertex, name) == {"1": [], "2": ["default"]}
    remove = {"versionAliases": ["-default"]}
    assert refusal(vertex.models.mergeVersionAliases(name=f"{name}@2", body=remove))[0] == 400
    assert refusal(vertex.models.deleteVersion(name=f"{name}@2"))[0] == 400
    vertex.finish(vertex.models.deleteVersion(name=f"{name}@1"))
    assert aliases(vertex, name) == {"2": ["default"]}
    assert refusal(vertex.models.get(name=f"{name}@1"))[0] == 404
    assert "only version" in refusal(vertex.models.deleteVersion(name=f"{name}@2"))[1]


def test_an_update_changes_what_its_mask_names_and_what_is_immutable_is_refused(vertex):
    name = vertex.upload(modelId="tiny", labels={"a": "1"})["model"]
    patch = vertex.models.patch
    found = patch(
        name=name, updateMask="display_name", body={"displayName": "new", "description": "no"}
    ).execute()
    assert (found["displayName"], "description" in found) == ("new", False)
    found = patch(
        name=f"{name}@1", updateMask="labels", body={"displayName": "x", "labels": {"b": "2"}}
    ).execute()
    assert (found["displayName"], found["labels"]) == ("new", {"b": "2"})
    wrong = {"displayName": "x", "artifactUri": "gs://elsewhere/x"}
    assert refusal(patch(name=name, updateMask="artifactUri", body=wrong))[0] == 400
    status, reason = refusal(patch(name=f"{name}@1", updateMask="displayName", body={"displayName": "x"}))
    assert (status, "without a version" in reason) == (400, True)
    stale = {"displayName": "x", "etag": "stale"}
    assert refusal(patch(name=name, updateMask="displayName", body=stale))[0] == 409


def test_what_the_discovery_document_does_not_allow_is_refused_with_its_path(vertex):
    waited = vertex.operations.wait(name=f"{LOCATION}/operations/1", timeout="soon")
    assert "'timeout': expected a duration" in refusal(waited)[1]

    def upload(body: dict[str, Any]) -> tuple[int, str]:
        return refusal(vertex.models.upload(parent=LOCATION, body=body))

    misspelt = {"model": {**model(), "containerSpec": {"imageURI": "x"}}}
    assert "Unknown name \"imageURI\" at 'model.containerSpec'" in upload(misspelt)[1]
    assert (
        "model.containerSpec.imageUri" in upload({"model": {**model(), "containerSpec": {"args": ["x"]}}})[1]
    )
    assert "model.displayName" in upload({"model": {"containerSpec": model()["containerSpec"]}})[1]
    assert upload({})[0] == 400
    assert "expected an array" in upload({"model": model(versionAliases="golden")})[1]
    assert upload({"model": model(), "modelId": "Tiny"})[0] == 400
    assert upload({"model": model(), "parentModel": f"{LOCATION}/models/none"})[0] == 404
    absent = IMAGE.replace("cdcd", "efef")
    assert "not found" in upload({"model": model(container={"imageUri": absent})})[1]
    assert vertex.world.list("aiplatform.model") == []


def test_lists_are_filtered_ordered_and_cut_and_what_is_new_is_missing_for_a_moment(vertex):
    for name in ("one", "two", "three"):
        vertex.upload(modelId=name, displayName=name, labels={"kind": "odd" if name != "two" else "even"})

    def names(**arguments: Any) -> list[str]:
        found = vertex.models.list(parent=LOCATION, **arguments).execute()
        return [each["displayName"] for each in found.get("models", [])]

    assert names() == ["three", "two", "one"]
    assert names(filter='labels.kind="odd" AND NOT display_name="one"') == ["three"]
    assert names(filter='displayName="one" OR labels.kind=even', orderBy="display_name") == ["one", "two"]
    assert names(filter="labels:kind AND model!=two", orderBy="create_time") == ["one", "three"]
    assert refusal(vertex.models.list(parent=LOCATION, filter="state=x"))[0] == 400
    first = vertex.models.list(parent=LOCATION, pageSize=2).execute()
    assert names(pageSize=2, pageToken=first["nextPageToken"]) == ["one"]
    vertex.world.set_setting(CONSISTENCY, "3600")
    assert names() == []
    assert vertex.models.get(name=f"{LOCATION}/models/one").execute()["displayName"] == "one"
    vertex.world.advance(3601)
    assert len(names()) == 3


def test_a_fault_strikes_the_request_or_the_operation_and_leaves_no_model(vertex):
    request = vertex.models.upload(parent=LOCATION, body={"model": model(), "modelId": "tiny"})
    vertex.world.faults.add(Fault("quota", operation=_UPLOAD))
    assert refusal(request)[0] == 429
    vertex.world.faults.add(Fault("error", operation=f"{_UPLOAD}.operation"))
    ended = vertex.finish(request)
    assert ended["error"]["code"] == 13
    assert vertex.world.list("aiplatform.model") == []
    assert "response" in vertex.finish(request)


def test_an_operation_that_is_slow_is_waited_for_and_can_be_cancelled_listed_and_deleted(vertex):
    vertex.world.faults.add(Fault("slow", operation=f"{_UPLOAD}.operation", seconds=4))
    begun = vertex.models.upload(parent=LOCATION, body={"model": model(), "modelId": "tiny"}).execute()
    below = vertex.models.operations()
    assert below.wait(name=begun["name"], timeout="0.1s").execute()["done"] is False
    assert refusal(below.delete(name=begun["name"]))[0] == 400
    below.cancel(name=begun["name"]).execute()
    ended = below.get(name=begun["name"]).execute()
    assert (ended["done"], ended["error"]["code"]) == (True, 1)
    assert vertex.world.list("aiplatform.model") == []
    listed = vertex.operations.list(name=LOCATION).execute()["operations"]
    assert [each["name"] for each in listed] == [begun["name"]]
    below.delete(name=begun["name"]).execute()
    assert refusal(below.get(name=begun["name"]))[0] == 404


def test_of_many_uploads_at_once_under_one_name_one_succeeds(vertex):
    def upload(index: int) -> str:
        own = Vertex(vertex.running, vertex.credentials)
        try:
            body = {"model": model(displayName=f"n{index}"), "modelId": "tiny"}
            ended = own.finish(own.models.upload(parent=LOCATION, body=body))
            return "made" if "response" in ended else "late"
        except HttpError as error:
            return str(error.resp.status)

    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(upload, range(6)))
    assert results.count("made") == 1
    assert set(results) <= {"made", "late", "409"}
    with ThreadPoolExecutor(6) as pool:
        versions = list(pool.map(lambda _: _another(vertex), range(6)))
    assert sorted(versions) == ["2", "3", "4", "5", "6", "7"]


def _another(vertex: Vertex) -> str:
    own = Vertex(vertex.running, vertex.credentials)
    return str(own.upload(parentModel=f"{LOCATION}/models/tiny")["modelVersionId"])
