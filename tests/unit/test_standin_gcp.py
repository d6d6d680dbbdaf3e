"""The life of every modelled type in the stand-in: made, compared, read, changed, imported, removed."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from providers.base.errors import ProviderError
from providers.base.provider import CreateRequest
from providers.base.values import UNKNOWN, Secret, has_secret, strip_secrets
from rehearsal.standins.compare import replace_paths
from rehearsal.standins.gcp.models import MODELS
from rehearsal.standins.names import bucket_name, run_name, service_name
from rehearsal.standins.sdk import resource_type
from rehearsal.world import World
from tests.unit.standin_resource import Resource
from tests.unit.standin_world import (
    ACCEPTED,
    BUCKET,
    CLUSTER,
    JOB,
    PROJECT,
    REGION,
    SECRET_TYPE,
    SERVICE,
    VERSION,
    changed,
    furnish,
)


@pytest.fixture(autouse=True)
def _no_workloads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMSTACK_RUNNER", "none")


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    furnish(world)
    world.set_setting("retry.wait_seconds", "0")
    return world


ALL = sorted(ACCEPTED)


def test_every_modelled_type_is_tested_here() -> None:
    assert ACCEPTED.keys() == MODELS.keys()


@pytest.mark.parametrize("token", ALL)
def test_a_second_up_and_an_up_after_a_refresh_change_nothing(world: World, token: str) -> None:
    resource = Resource(world, token)
    before = dict(resource.up(ACCEPTED[token]))
    assert resource.changes(ACCEPTED[token]) == []
    inputs = resource.inputs
    resource.refresh()
    assert (resource.outputs, resource.inputs) == (before, inputs)
    assert resource.changes(ACCEPTED[token]) == []


@pytest.mark.parametrize("token", ALL)
def test_every_output_of_the_sdk_is_given(world: World, token: str) -> None:
    outputs = Resource(world, token).up(ACCEPTED[token])
    types = resource_type(token)
    expected = {*types.computed, *ACCEPTED[token]} - {"latestReadyRevision"}
    assert expected <= outputs.keys()


@pytest.mark.parametrize("token", ALL)
def test_a_preview_knows_the_inputs_and_touches_nothing(world: World, token: str) -> None:
    resource = Resource(world, token)
    request = CreateRequest(resource.urn, token, "r", resource.check(ACCEPTED[token]), preview=True)
    before = (world.list(), world.calls())
    answer = asyncio.run(resource.standin.create(request))
    assert (world.list(), world.calls()) == before
    assert answer.id == ""
    assert {**answer.outputs, **ACCEPTED[token]} == answer.outputs or token in (BUCKET, *_RENAMING)
    assert all(answer.outputs[name] is UNKNOWN for name in resource_type(token).computed)


_RENAMING = tuple(token for token in ALL if token.endswith(("IamMember", "IAMMember")))


@pytest.mark.parametrize("token", ALL)
def test_what_is_imported_needs_no_change_but_what_only_the_provider_knows(world: World, token: str) -> None:
    resource = Resource(world, token)
    resource.up(ACCEPTED[token])
    found = resource.read(imported=True)
    assert found is not None
    resource.inputs, resource.outputs = found.inputs, found.outputs
    assert resource.changes(ACCEPTED[token]) == []


@pytest.mark.parametrize("token", ALL)
def test_what_is_removed_is_gone_and_removing_it_again_is_no_error(world: World, token: str) -> None:
    resource = Resource(world, token)
    inputs = changed(
        ACCEPTED[token], {"deletionProtection": False} if token in (SERVICE, JOB, CLUSTER) else {}
    )
    inputs = {**inputs, "disableOnDestroy": True} if "disableOnDestroy" in inputs else inputs
    resource.up(inputs)
    resource.delete()
    assert resource.read() is None
    resource.delete()


@pytest.mark.parametrize(
    "token", [t for t in ALL if t not in (*_RENAMING, VERSION) and "projects/service" not in t]
)
def test_a_name_that_exists_is_refused_with_the_command_that_imports_it(world: World, token: str) -> None:
    Resource(world, token).up(ACCEPTED[token])
    with pytest.raises(ProviderError, match=r"Error 409: .*`llmstack recover dev` imports it"):
        Resource(world, token).up(ACCEPTED[token])


@pytest.mark.parametrize("token", [SERVICE, JOB, CLUSTER])
def test_protection_is_on_by_default_and_off_only_after_an_up(world: World, token: str) -> None:
    resource = Resource(world, token)
    resource.up(ACCEPTED[token])
    with pytest.raises(ProviderError, match=r"deletionProtection is true\. Set it to false, run up"):
        resource.delete()
    resource.up({**ACCEPTED[token], "deletionProtection": False})
    resource.delete()
    assert resource.read() is None


@pytest.mark.parametrize(("policy", "stays"), [("PREVENT", True), ("ABANDON", True), ("DELETE", False)])
def test_a_deletion_policy_does_what_it_says(world: World, policy: str, stays: bool) -> None:
    resource = Resource(world, SECRET_TYPE)
    resource.up({**ACCEPTED[SECRET_TYPE], "deletionPolicy": policy})
    if policy == "PREVENT":
        with pytest.raises(ProviderError, match="deletionPolicy is PREVENT"):
            resource.delete()
    else:
        resource.delete()
    assert (resource.read() is not None) is stays


def test_a_bucket_with_objects_stays_unless_it_is_forced(world: World) -> None:
    resource = Resource(world, BUCKET)
    resource.up(ACCEPTED[BUCKET])
    world.objects.put("acme-models.v1", "a/b", b"weights")
    with pytest.raises(ProviderError, match="holds 1 objects and its forceDestroy is false"):
        resource.delete()
    resource.up({**ACCEPTED[BUCKET], "forceDestroy": True})
    resource.delete()
    assert not (world.folder / "buckets/acme-models.v1").exists()
    assert world.objects.list("acme-models.v1") == []


def test_drift_in_a_service_is_found_and_repaired(world: World) -> None:
    resource = Resource(world, SERVICE)
    resource.up(ACCEPTED[SERVICE])

    def drift(body: dict[str, Any]) -> dict[str, Any]:
        container = body["template"]["containers"][0]
        container["env"].append({"name": "EXTRA", "value": "1"})
        container["resources"]["limits"]["memory"] = "8Gi"
        return body

    world.edit(run_name(PROJECT, REGION, "services", "assistant"), drift)
    resource.refresh()
    container = "template.containers[0]"
    assert resource.changes(ACCEPTED[SERVICE]) == [
        f"{container}.envs[2]",
        f"{container}.resources.limits.memory",
    ]
    resource.up(ACCEPTED[SERVICE])
    assert resource.changes(ACCEPTED[SERVICE]) == []


def test_what_google_fills_in_is_compared_only_when_it_is_given(world: World) -> None:
    resource = Resource(world, SERVICE)
    plain = changed(ACCEPTED[SERVICE], {"template.maxInstanceRequestConcurrency": None})
    resource.up(plain)
    assert resource.outputs["template"]["maxInstanceRequestConcurrency"] == 80
    assert resource.changes(plain) == []
    assert resource.changes(ACCEPTED[SERVICE]) == ["template.maxInstanceRequestConcurrency"]


def test_labels_that_others_added_are_left_alone_and_own_ones_are_removed(world: World) -> None:
    resource = Resource(world, BUCKET)
    resource.up(ACCEPTED[BUCKET])
    name = bucket_name("acme-models.v1")
    world.edit(name, lambda body: {**body, "labels": {**body["labels"], "theirs": "1"}})
    resource.refresh()
    assert resource.changes(ACCEPTED[BUCKET]) == []
    assert resource.changes({**ACCEPTED[BUCKET], "labels": {}}) == ["labels.env"]


def test_only_a_changed_template_makes_a_revision(world: World) -> None:
    resource = Resource(world, SERVICE)
    first = resource.up(ACCEPTED[SERVICE])["latestCreatedRevision"]
    same = resource.up({**ACCEPTED[SERVICE], "description": "talks"})
    assert (same["latestCreatedRevision"], same["generation"]) == (first, "2")
    assert (
        resource.up(changed(ACCEPTED[SERVICE], {"template.timeout": "60s"}))["latestCreatedRevision"] != first
    )


@pytest.mark.parametrize("token", sorted(MODELS))
def test_every_replacing_path_is_an_input_of_its_type(token: str) -> None:
    inputs = {"*", *resource_type(token).inputs}
    assert all(path.partition(".")[0] in inputs for path in replace_paths(token))
    assert replace_paths(token)


def test_a_fixed_name_is_deleted_before_it_is_replaced_and_a_generated_one_after(world: World) -> None:
    resource = Resource(world, BUCKET)
    resource.up(ACCEPTED[BUCKET])
    moved = resource.diff({**ACCEPTED[BUCKET], "location": "europe-west4"})
    assert (list(moved.replaces), moved.delete_before_replace) == (["location"], True)
    assert list(resource.diff({**ACCEPTED[BUCKET], "labels": {}}).replaces) == []


def test_a_generated_name_stays_the_same_and_replacing_it_needs_no_deletion_first(world: World) -> None:
    resource = Resource(world, BUCKET)
    nameless = {name: value for name, value in ACCEPTED[BUCKET].items() if name != "name"}
    resource.up(nameless)
    assert resource.changes(nameless) == []
    moved = resource.diff({**nameless, "location": "EU"})
    assert (list(moved.replaces), moved.delete_before_replace) == (["location"], False)


def test_a_payload_is_in_no_record_and_secret_in_every_output(world: World, tmp_path: Path) -> None:
    resource = Resource(world, VERSION)
    outputs = resource.up({**ACCEPTED[VERSION], "secretData": Secret("PLANTED")})
    assert outputs["secretData"] == Secret("PLANTED")
    resource.refresh()
    assert resource.outputs["secretData"] == Secret("PLANTED")
    assert has_secret(resource.inputs["secretData"])
    assert "PLANTED" not in json.dumps([record.body for record in world.list()])
    holders = [path for path in tmp_path.rglob("*") if path.is_file() and b"PLANTED" in path.read_bytes()]
    assert [path.parent.name for path in holders] == ["secrets"]
    resource.delete()
    assert not any((tmp_path / "secrets").iterdir())


def test_a_secret_environment_variable_stays_secret_in_outputs_and_after_a_refresh(world: World) -> None:
    resource = Resource(world, SERVICE)
    resource.up(changed(ACCEPTED[SERVICE], {"template.containers[0].envs[0].value": Secret("PLANTED")}))
    resource.refresh()
    for properties in (resource.outputs, resource.inputs):
        assert has_secret(properties["template"])
        assert strip_secrets(properties)["template"]["containers"][0]["envs"][0]["value"] == "PLANTED"
        assert "PLANTED" not in repr(properties)


def test_an_update_of_what_the_world_does_not_have_says_so(world: World) -> None:
    resource = Resource(world, BUCKET)
    resource.up(ACCEPTED[BUCKET])
    world.delete(bucket_name("acme-models.v1"))
    with pytest.raises(ProviderError, match="not in the rehearsed cloud"):
        resource.up({**ACCEPTED[BUCKET], "labels": {}})


def test_an_input_that_is_not_modelled_is_kept_and_warned_of(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = Resource(world, BUCKET)
    said: list[str] = []
    monkeypatch.setattr(resource.standin.log, "warning", lambda _, text: said.append(text))
    website = {"mainPageSuffix": "index.html"}
    assert resource.up({**ACCEPTED[BUCKET], "website": website})["website"] == website
    assert said == ["website: accepted without a check, because the rehearsed cloud does not model it"]


def test_a_type_that_is_not_modelled_cannot_be_made_past_its_check(world: World) -> None:
    token = "gcp:compute/instance:Instance"
    standin = Resource(world, token).standin
    request = CreateRequest(f"urn:pulumi:dev::llm::{token}::r", token, "r", {})
    with pytest.raises(ProviderError, match=f"not modelled by the rehearsed cloud: {token}"):
        asyncio.run(standin.create(request))


def test_an_api_is_left_enabled_unless_the_program_says_otherwise(world: World) -> None:
    token = "gcp:projects/service:Service"
    resource = Resource(world, token)
    resource.up(ACCEPTED[token])
    resource.delete()
    assert world.get(service_name(PROJECT, "aiplatform.googleapis.com")) is not None
    Resource(world, token).up(ACCEPTED[token])
