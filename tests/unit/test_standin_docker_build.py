"""The stand-in for docker-build: what belongs to an image, what changes it, where it goes."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from providers.base.errors import ProviderError
from providers.base.paths import format_path
from providers.base.provider import (
    CheckRequest,
    CreateRequest,
    CreateResponse,
    DeleteRequest,
    DiffRequest,
    ReadRequest,
    UpdateRequest,
)
from providers.base.values import UNKNOWN, Properties
from rehearsal.standins.docker_build import TYPE, DockerBuildStandin
from rehearsal.standins.docker_context import Build, files
from rehearsal.standins.names import repository_name
from rehearsal.world import World

REPOSITORY = repository_name("acme", "us-central1", "llm")
TAG = "us-central1-docker.pkg.dev/acme/llm/serve:dev"
URN = f"urn:pulumi:dev::llm::{TYPE}::serve"
BIN = Path(__file__).parents[2] / "rehearsal" / "bin"


@pytest.fixture
def world(tmp_path: Path) -> World:
    (tmp_path / "world").mkdir()
    world = World(tmp_path / "world")
    world.insert("artifactregistry.repository", REPOSITORY, {"format": "DOCKER"})
    return world


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "serve"
    (folder / "src").mkdir(parents=True)
    (folder / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\n")
    (folder / "src" / "app.py").write_text("print()")
    return folder


@pytest.fixture
def inputs(context: Path) -> Properties:
    return {
        "push": True,
        "tags": [TAG],
        "context": {"location": str(context)},
        "platforms": ["linux/amd64"],
        "buildArgs": {"BASE": "python:3.11"},
        "buildOnPreview": False,
    }


def _standin(world: World) -> DockerBuildStandin:
    return DockerBuildStandin("docker-build", "0.0.22", world)


def _create(world: World, inputs: Properties, preview: bool = False) -> CreateResponse:
    return asyncio.run(_standin(world).create(CreateRequest(URN, TYPE, "serve", inputs, preview)))


def _failures(world: World, inputs: Properties) -> list[str]:
    answer = asyncio.run(_standin(world).check(CheckRequest(URN, TYPE, "serve", {}, inputs)))
    return [failure.reason for failure in answer.failures]


def _changes(world: World, made: CreateResponse, old: Properties, new: Properties) -> list[str]:
    request = DiffRequest(URN, TYPE, made.id, old, made.outputs, new)
    answer = asyncio.run(_standin(world).diff(request))
    assert answer.replaces == ()
    return [format_path(change.path) for change in (*(answer.changes or ()), *answer.output_changes)]


def _names(context: Path) -> list[str]:
    found = files(context, context / "Dockerfile")
    return [path.relative_to(context).as_posix() for path in found]


def test_an_image_is_recorded_with_a_snapshot_of_its_context(
    world: World, context: Path, inputs: Properties
) -> None:
    made = _create(world, inputs)
    digest = made.outputs["digest"]
    assert made.id == digest
    assert made.outputs["ref"] == f"{TAG}@{digest}"
    record = world.get(f"{REPOSITORY}/dockerImages/serve@{digest}")
    assert record is not None
    assert record.body["tags"] == ["dev"]
    assert (record.body["context"], record.body["buildArgs"]) == (str(context), {"BASE": "python:3.11"})
    snapshot = world.folder / "images" / digest.removeprefix("sha256:")
    assert (snapshot / "src" / "app.py").read_text() == "print()"
    assert (snapshot / "Dockerfile").exists()


def test_the_same_content_at_another_place_is_the_same_image(
    world: World, context: Path, inputs: Properties
) -> None:
    moved = context.rename(context.with_name("elsewhere"))
    there = _create(world, {**inputs, "context": {"location": str(moved)}}).outputs["digest"]
    moved.rename(context)
    assert _create(world, inputs).outputs["digest"] == there


@pytest.mark.parametrize(
    ("change", "paths"),
    [
        ({}, []),
        ({"buildArgs": {"BASE": "other"}}, ["buildArgs.BASE"]),
        ({"platforms": ["linux/arm64"]}, ["platforms[0]"]),
        ({"tags": [f"{TAG}2"]}, ["tags[0]"]),
        ({"registries": [{"address": "a", "password": "new"}]}, []),
        ({"context": {"location": UNKNOWN}}, ["context.location", "contextHash"]),
    ],
)
def test_inputs_change_an_image_but_a_password_does_not(
    world: World, inputs: Properties, change: Properties, paths: list[str]
) -> None:
    old = {**inputs, "registries": [{"address": "a", "password": "old"}]}
    assert _changes(world, _create(world, old), old, {**old, **change}) == paths


def _write(folder: Path) -> None:
    (folder / "src" / "app.py").write_text("print(1)")


def _rename(folder: Path) -> None:
    (folder / "src" / "app.py").rename(folder / "src" / "main.py")


def _make_executable(folder: Path) -> None:
    (folder / "src" / "app.py").chmod(0o755)


def _change_dockerfile(folder: Path) -> None:
    (folder / "Dockerfile").write_text("FROM scratch\n")


@pytest.mark.parametrize("touch", [_write, _rename, _make_executable, _change_dockerfile])
def test_whatever_changes_in_the_context_changes_the_image(
    world: World, context: Path, inputs: Properties, touch: Any
) -> None:
    made = _create(world, inputs)
    touch(context)
    assert _changes(world, made, inputs, inputs) == ["contextHash"]
    assert _create(world, inputs).outputs["digest"] != made.outputs["digest"]


def test_what_dockerignore_leaves_out_does_not_count(world: World, context: Path, inputs: Properties) -> None:
    (context / ".dockerignore").write_text("# comment\n.venv\n**/*.pyc\nnotes\n!notes/keep.md\n")
    made = _create(world, inputs)
    for name in (".venv/lib.py", "src/a.pyc", "notes/draft.md"):
        (context / name).parent.mkdir(exist_ok=True)
        (context / name).write_text("x")
    assert _changes(world, made, inputs, inputs) == []
    (context / "notes/keep.md").write_text("x")
    assert _changes(world, made, inputs, inputs) == ["contextHash"]
    assert _names(context) == [".dockerignore", "Dockerfile", "notes/keep.md", "src/app.py"]


def test_a_pattern_is_read_from_the_contexts_root(context: Path) -> None:
    (context / ".dockerignore").write_text("app.py\n")
    assert "src/app.py" in _names(context)


def test_an_ignored_dockerfile_still_counts_and_is_kept(
    world: World, context: Path, inputs: Properties
) -> None:
    (context / ".dockerignore").write_text("Dockerfile\n")
    made = _create(world, inputs)
    assert (world.folder / "images" / made.id.removeprefix("sha256:") / "Dockerfile").exists()
    _change_dockerfile(context)
    assert _changes(world, made, inputs, inputs) == ["contextHash"]


def test_a_link_out_of_the_context_is_kept_as_a_link(context: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("x")
    (context / "link").symlink_to(tmp_path / "outside")
    build = Build(context, context / "Dockerfile", {})
    before = build.context_hash()
    (tmp_path / "outside").write_text("y")
    assert build.context_hash() == before


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"context": {"location": "/nowhere"}}, "context.location: '/nowhere' is no folder"),
        ({"dockerfile": {"location": "/nowhere/Dockerfile"}}, "there is no Dockerfile at"),
        ({"tags": []}, "tags: at least one tag or export is needed when pushing"),
        ({"push": "yes"}, "push: expected bool, got string"),
        ({"pus": True}, "pus: unknown property (did you mean push?)"),
    ],
)
def test_what_cannot_be_built_is_refused_in_the_preview(
    world: World, inputs: Properties, change: Properties, says: str
) -> None:
    (failure,) = _failures(world, {**inputs, **change})
    assert says in failure


def test_a_dockerfile_without_from_is_refused(world: World, context: Path, inputs: Properties) -> None:
    (context / "Dockerfile").write_text("RUN true\n")
    (failure,) = _failures(world, inputs)
    assert "no FROM instruction" in failure


def test_a_preview_knows_the_tag_and_the_hash_but_not_the_digest(world: World, inputs: Properties) -> None:
    outputs = _create(world, inputs, preview=True).outputs
    assert (outputs["digest"], outputs["ref"]) == (UNKNOWN, TAG)
    assert outputs["contextHash"] == _create(world, inputs).outputs["contextHash"]


@pytest.mark.parametrize(
    ("tag", "says"),
    [
        ("us-central1-docker.pkg.dev/acme/nowhere/serve:dev", 'Repository "nowhere" not found'),
        ("docker.io/team/serve:dev", "has Artifact Registry only"),
    ],
)
def test_a_push_needs_its_repository(world: World, inputs: Properties, tag: str, says: str) -> None:
    with pytest.raises(ProviderError, match=says):
        _create(world, {**inputs, "tags": [tag]})
    assert world.list("artifactregistry.image") == []
    assert not (world.folder / "images").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"push": "yes", "tags": "dev"}, "push: expected bool, got string; tags: expected list, got string"),
        ({"context": {"location": UNKNOWN}}, "context and dockerfile must be known when an image is built"),
    ],
)
def test_what_gets_past_the_preview_is_refused_by_the_build(
    world: World, inputs: Properties, change: Properties, says: str
) -> None:
    with pytest.raises(ProviderError, match=says):
        _create(world, {**inputs, **change})
    assert world.list("artifactregistry.image") == []


def test_a_dockerfile_without_a_file_is_not_modelled(world: World, inputs: Properties) -> None:
    with pytest.raises(ProviderError, match=r"dockerfile\.inline is not modelled by the rehearsed cloud"):
        _failures(world, {**inputs, "dockerfile": {"inline": "FROM scratch"}})


def test_a_tag_moves_to_the_newest_image_and_the_older_one_stays(
    world: World, context: Path, inputs: Properties
) -> None:
    made = _create(world, inputs)
    _write(context)
    request = UpdateRequest(URN, TYPE, "serve", made.id, inputs, made.outputs, inputs)
    new = asyncio.run(_standin(world).update(request))
    tags = {record.body["digest"]: record.body["tags"] for record in world.list("artifactregistry.image")}
    assert tags == {made.id: [], new["digest"]: ["dev"]}


def _read(world: World, made: CreateResponse, inputs: Properties) -> Any:
    return asyncio.run(_standin(world).read(ReadRequest(URN, TYPE, "serve", made.id, inputs, made.outputs)))


def test_an_image_that_somebody_deleted_is_missed_and_deleting_it_again_is_no_error(
    world: World, inputs: Properties
) -> None:
    made = _create(world, inputs)
    assert _read(world, made, inputs) is not None
    request = DeleteRequest(URN, TYPE, "serve", made.id, inputs, made.outputs)
    asyncio.run(_standin(world).delete(request))
    assert _read(world, made, inputs) is None
    assert list((world.folder / "images").iterdir()) == []
    asyncio.run(_standin(world).delete(request))


@pytest.mark.parametrize("plugin", ["gcp", "docker-build"])
@pytest.mark.parametrize("folder", ["", "/nowhere"])
def test_a_plugin_does_not_start_without_a_rehearsal(plugin: str, folder: str) -> None:
    environment = {**os.environ, "LLMSTACK_REHEARSAL": folder}
    started = subprocess.run(
        [BIN / f"pulumi-resource-{plugin}"], env=environment, capture_output=True, check=False
    )
    assert started.returncode != 0
    (line,) = started.stderr.decode().splitlines()
    assert "LLMSTACK_REHEARSAL=<existing folder>" in line
    assert started.stdout == b""
