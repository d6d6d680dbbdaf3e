"""`llmstack fault`: what a person injects is what strikes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmstack.main import app
from rehearsal.world import Fault, InjectedFault, World


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """The rehearsed cloud of a stack `dev`, whose checkout is the working directory."""
    (tmp_path / "Pulumi.yaml").write_text("name: llm\n")
    (tmp_path / "stacks").mkdir()
    (tmp_path / "Pulumi.dev.yaml").write_text("config: {}\n")
    folder = tmp_path / ".rehearsal" / "dev"
    folder.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return World(folder)


def fault(*words: str, status: int = 0) -> str:
    done = CliRunner().invoke(app, ["fault", *words])
    assert done.exit_code == status, done.output
    return done.output


def test_a_fault_strikes_as_it_was_asked_for_and_the_list_tells_what_it_struck(world: World) -> None:
    fault("dev", "quota", "--type", "*:Bucket", "--operation", "create", "--nth", "2")
    assert world.faults.active() == [Fault("quota", "*:Bucket", "create", nth=2)]
    with world.call("gcp:storage/bucket:Bucket", "create", "b1"):
        pass
    with pytest.raises(InjectedFault), world.call("gcp:storage/bucket:Bucket", "create", "b2"):
        pass
    listed = json.loads(fault("dev", "--list", "--json"))
    assert [each["kind"] for each in listed["faults"]] == ["quota"]
    assert [each["target"] for each in listed["struck"]] == ["b2"]
    assert "b2" in fault("dev", "--list")


def test_clear_removes_every_fault(world: World) -> None:
    fault("dev", "503", "--times", "3")
    assert "no faults" in fault("dev", "--clear")
    assert world.faults.active() == []


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("dev",), 2, "say what to do: a KIND, --list or --clear"),
        (("dev", "503", "--list"), 2, "say what to do"),
        (("dev", "meteorite"), 2, "fault kind 'meteorite' is not known"),
        (("other", "503"), 2, "there is no stack 'other'"),
        (("../dev", "503"), 2, "there is no stack '../dev'"),
        (("x" * 300, "503"), 2, "there is no stack 'xxx"),
    ],
)
def test_what_cannot_be_injected_is_answered_in_one_line(
    words: tuple[str, ...], status: int, said: str
) -> None:
    assert said in fault(*words, status=status)


def test_a_stack_without_a_rehearsal_is_told_how_to_get_one(world: World) -> None:
    world.close()
    for path in world.folder.iterdir():
        path.unlink()
    world.folder.rmdir()
    assert "fault kind 'qouta' is not known" in fault("dev", "qouta", status=2)
    assert "run `llmstack env dev` first" in fault("dev", "503", status=1)
