"""Who may do what: roles, inheritance, everybody, late propagation."""

from __future__ import annotations

from pathlib import Path

import pytest

from rehearsal.world import DEPLOYER, World
from rehearsal.world_iam import roles

BUCKET = "storage.googleapis.com/buckets/b"
PROJECT = "cloudresourcemanager.googleapis.com/projects/p"
SERVICE = "run.googleapis.com/projects/p/locations/l/services/s"
MEMBER = "serviceAccount:serve@p.iam.gserviceaccount.com"


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    number = world.ensure_project("p").body["number"]
    world.insert("storage.bucket", BUCKET, {"projectNumber": number})
    return world


def test_a_viewer_reads_and_does_not_write(world: World) -> None:
    world.bind(BUCKET, "roles/storage.objectViewer", MEMBER)
    assert world.allows(MEMBER, "storage.objects.get", BUCKET)
    assert not world.allows(MEMBER, "storage.objects.create", BUCKET)
    assert not world.allows("serviceAccount:other@p.iam.gserviceaccount.com", "storage.objects.get", BUCKET)


def test_a_role_on_the_project_holds_for_its_buckets_and_services(world: World) -> None:
    world.bind(PROJECT, "roles/storage.admin", MEMBER)
    world.bind(PROJECT, "roles/run.invoker", MEMBER)
    assert world.allows(MEMBER, "storage.objects.delete", BUCKET)
    assert world.allows(MEMBER, "run.routes.invoke", SERVICE)


def test_a_role_on_one_bucket_says_nothing_about_another(world: World) -> None:
    world.bind(BUCKET, "roles/storage.objectAdmin", MEMBER)
    assert not world.allows(MEMBER, "storage.objects.get", "storage.googleapis.com/buckets/b2")


def test_a_role_on_a_secret_holds_for_its_versions(world: World) -> None:
    secret = "secretmanager.googleapis.com/projects/p/secrets/s"
    world.bind(secret, "roles/secretmanager.secretAccessor", MEMBER)
    assert world.allows(MEMBER, "secretmanager.versions.access", f"{secret}/versions/1")


def test_everybody_includes_the_nameless_and_all_authenticated_does_not(world: World) -> None:
    world.bind(SERVICE, "roles/run.invoker", "allAuthenticatedUsers")
    assert world.allows(MEMBER, "run.routes.invoke", SERVICE)
    assert not world.allows("allUsers", "run.routes.invoke", SERVICE)
    world.bind(SERVICE, "roles/run.invoker", "allUsers")
    assert world.allows("allUsers", "run.routes.invoke", SERVICE)


def test_the_deployer_owns_everything(world: World) -> None:
    assert world.allows(DEPLOYER, "run.services.delete", SERVICE)


def test_a_role_that_nobody_knows_gives_nothing(world: World) -> None:
    world.bind(BUCKET, "roles/storage.objectViewr", MEMBER)
    assert not world.allows(MEMBER, "storage.objects.get", BUCKET)


def test_a_late_binding_holds_only_after_its_time(world: World) -> None:
    world.set_setting("iam.propagation_seconds", "120")
    world.bind(BUCKET, "roles/storage.objectViewer", MEMBER)
    assert world.bindings(BUCKET) == [("roles/storage.objectViewer", MEMBER)]
    assert not world.allows(MEMBER, "storage.objects.get", BUCKET)
    world.advance(121)
    assert world.allows(MEMBER, "storage.objects.get", BUCKET)


def test_binding_again_does_not_start_the_wait_again(world: World) -> None:
    world.bind(BUCKET, "roles/storage.objectViewer", MEMBER)
    world.set_setting("iam.propagation_seconds", "120")
    world.bind(BUCKET, "roles/storage.objectViewer", MEMBER)
    assert world.allows(MEMBER, "storage.objects.get", BUCKET)


def test_unbind_takes_the_role_back_once(world: World) -> None:
    world.bind(BUCKET, "roles/storage.objectViewer", MEMBER)
    assert world.unbind(BUCKET, "roles/storage.objectViewer", MEMBER)
    assert not world.unbind(BUCKET, "roles/storage.objectViewer", MEMBER)
    assert not world.allows(MEMBER, "storage.objects.get", BUCKET)


def test_every_role_names_permissions_of_the_form_that_google_uses() -> None:
    wrong = [
        (role, each) for role, given in roles().items() for each in given if each != "*" and "." not in each
    ]
    assert wrong == []
    assert all(roles().values())
