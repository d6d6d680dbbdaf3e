"""`llmstack env`: what a stack takes for granted is in its rehearsed cloud before the first `pulumi up`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmstack.main import app
from rehearsal import driver_cluster
from rehearsal.driver import Rehearsal
from rehearsal.world import World
from tests.unit.tpu_project import make_project

SECRET = "secretmanager.googleapis.com/projects/example-project/secrets/hub-token"


@pytest.fixture
def rehearsal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rehearsal]:
    """Of a stack in the working directory whose Hub token is in a secret; without a control plane."""
    made = make_project(tmp_path / "project")
    monkeypatch.chdir(made)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(driver_cluster, "prepare", lambda *_: None)
    rehearsal = Rehearsal(made, "dev")
    yield rehearsal
    rehearsal.down()


def env(status: int = 0) -> None:
    done = CliRunner().invoke(app, ["env", "dev"])
    assert done.exit_code == status, done.output


def test_a_secret_that_exists_already_is_there_with_a_version(rehearsal: Rehearsal) -> None:
    env()
    env()
    world = World(rehearsal.folder)
    assert world.get(SECRET) is not None
    assert world.get(f"{SECRET}/versions/1") is not None
    world.close()


def test_a_stack_file_with_faults_can_be_rehearsed_for_the_engine_tells_them(rehearsal: Rehearsal) -> None:
    file = rehearsal.root / "Pulumi.dev.yaml"
    file.write_text(file.read_text().replace("ct5lp-hightpu-8t", "ct5lp-hightpu-4t"))
    env()
    world = World(rehearsal.folder)
    assert world.get(SECRET) is None
    world.close()
