"""The weights image as a job: it stages, it says what it takes, it obeys the platform's signal."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from checkpoint import single
from fake_gcs import FakeGcs
from fake_hub import REVISION, FakeHub

from tests.docker.containers import ROOT, Container, Containers

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]
CONTRACT = json.loads((ROOT / "images/weights/contract.json").read_text())
PREFIX = f"models/acme--tiny/{REVISION}/safetensors-float32"
Stage = Callable[[], Container]


@pytest.fixture
def stage(image: Callable[[str], str], containers: Containers, hub: FakeHub, gcs: FakeGcs) -> Stage:
    """Starts a staging of a small checkpoint."""
    hub.blobs = single()
    flags = {
        "--repo": "acme/tiny",
        "--revision": REVISION,
        "--target": f"gs://models/{PREFIX}",
        "--format": "safetensors",
        "--dtype": "float32",
    }
    arguments = [part for flag in flags.items() for part in flag]
    environment = {"HF_ENDPOINT": hub.url, "STORAGE_EMULATOR_HOST": gcs.url, "NO_GCE_CHECK": "true"}
    return lambda: containers.start(image("weights"), "stage", *arguments, environment=environment)


def test_help_names_every_argument_of_the_contract(
    image: Callable[[str], str], containers: Containers
) -> None:
    container = containers.start(image("weights"), "stage", "--help")
    assert container.wait() == 0
    text = container.logs()
    assert [argument for argument in CONTRACT["arguments"] if argument not in text] == []


def test_a_wrong_argument_ends_with_the_contracts_status_and_no_traceback(
    image: Callable[[str], str], containers: Containers
) -> None:
    container = containers.start(image("weights"), "stage", "--repo", "acme/tiny")
    assert container.wait() == CONTRACT["exit_codes"]["usage"]
    assert "--revision" in container.logs()
    assert "Traceback" not in container.logs()


def test_a_checkpoint_is_staged_from_the_hub_with_its_manifest_last(
    stage: Stage, hub: FakeHub, gcs: FakeGcs
) -> None:
    container = stage()
    assert container.wait() == 0, container.logs()
    newest = max(gcs.objects, key=lambda name: gcs.objects[name].generation)
    assert newest == f"{PREFIX}/manifest.json"
    listed = {file["name"] for file in json.loads(gcs.objects[newest].content)["files"]}
    assert {name.removeprefix(f"{PREFIX}/") for name in gcs.objects} == {*listed, "manifest.json"}
    assert gcs.objects[f"{PREFIX}/model.safetensors"].content == hub.blobs["model.safetensors"].content


def test_a_cancelled_job_ends_within_its_grace_and_leaves_no_manifest(stage: Stage, gcs: FakeGcs) -> None:
    gcs.stop_at = 1
    container = stage()
    assert gcs.reached.wait(60), container.logs()
    assert container.stop(grace=30) == CONTRACT["exit_codes"]["interrupted"]
    assert f"{PREFIX}/manifest.json" not in gcs.objects
