"""How a rehearsal is prepared, and that a real stack's file stays as it is."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from rehearsal import driver_hub
from rehearsal.driver import Rehearsal, RehearsalError
from rehearsal.driver_processes import stop_all
from rehearsal.driver_stack import SALT, SENTINEL
from rehearsal.world import World
from tests.unit.cloud_world import Running

PROJECT = {
    "name": "llm",
    "runtime": {"name": "python", "options": {"toolchain": "uv", "virtualenv": ".venv"}},
    "plugins": {"providers": [{"name": "modelops", "path": "./providers/modelops"}]},
}
PROD = {
    "secretsprovider": "gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k",
    "encryptedkey": "xyz",
    "encryptionsalt": "v1:abc",
    "config": {
        "gcp:project": "acme-prod",
        "llm:environment": "prod",
        "llm:hubToken": {"secure": "cipher"},
        "llm:deep": {"list": [{"secure": "cipher"}, "plain"]},
    },
}
LOCAL = {"config": {"gcp:project": "llm-local", "llm:environment": "local"}}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("LLMSTACK_RUNNER", "process")
    folder = tmp_path / "check out"
    (folder / ".engine" / "bin").mkdir(parents=True)
    (folder / ".engine" / "bin" / "pulumi").touch()
    for name, content in (("", PROJECT), (".prod", PROD), (".local", LOCAL)):
        (folder / f"Pulumi{name}.yaml").write_text(yaml.safe_dump(content))
    yield folder
    for stack in (folder / ".rehearsal").glob("*/world.db"):
        stop_all(stack.parent)


def read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())


def test_a_real_stack_is_rehearsed_on_a_copy_without_its_encryption_and_secrets(root):
    before = (root / "Pulumi.prod.yaml").read_bytes()
    rehearsal = Rehearsal(root, "prod")
    rehearsal.prepare()
    assert (root / "Pulumi.prod.yaml").read_bytes() == before
    assert rehearsal.workdir == root / ".rehearsal/prod/project"
    copy = read(rehearsal.stack_file())
    assert set(copy) == {"config", "encryptionsalt"}
    assert copy["encryptionsalt"] == SALT
    assert copy["config"]["llm:hubToken"] == SENTINEL
    assert copy["config"]["llm:deep"] == {"list": [SENTINEL, "plain"]}
    assert copy["config"]["gcp:project"] == "acme-prod"
    project = read(rehearsal.workdir / "Pulumi.yaml")
    assert project["main"] == str(root)
    assert project["runtime"]["options"] == {"toolchain": "pip", "virtualenv": str(root / ".venv")}
    assert project["plugins"]["providers"][0]["path"] == str(root / "providers/modelops")


def test_a_change_in_the_copy_stays_until_the_original_changes(root):
    rehearsal = Rehearsal(root, "prod")
    copy = rehearsal.stack_file()
    copy.write_text(yaml.safe_dump({"encryptionsalt": SALT, "config": {"llm:x": "by hand"}}))
    rehearsal.prepare()
    assert read(copy)["config"] == {"llm:x": "by hand"}
    (root / "Pulumi.prod.yaml").write_text(
        yaml.safe_dump({"config": {"llm:x": "new"}, "encryptionsalt": "real"})
    )
    rehearsal.prepare()
    assert read(copy) == {"encryptionsalt": SALT, "config": {"llm:x": "new"}}


def test_a_local_stack_is_worked_on_in_place_unless_a_copy_is_wanted(root):
    assert Rehearsal(root, "local").workdir == root
    assert Rehearsal(root, "local").lives_here
    assert not Rehearsal(root, "prod").lives_here
    assert (
        Rehearsal(root, "local", copy=True).stack_file()
        == root / ".rehearsal/local/project/Pulumi.local.yaml"
    )


def test_preparing_twice_keeps_port_key_and_project_number(root):
    rehearsal = Rehearsal(root, "local")
    rehearsal.prepare()
    first = (rehearsal.environment(), (rehearsal.folder / "adc.json").read_text())
    rehearsal.prepare()
    assert (rehearsal.environment(), (rehearsal.folder / "adc.json").read_text()) == first
    record = World(rehearsal.folder).get("cloudresourcemanager.googleapis.com/projects/llm-local")
    assert record is not None
    assert record.body["number"].isdecimal()
    for name in ("adc.json", "cloud.secret"):
        assert (rehearsal.folder / name).stat().st_mode & 0o077 == 0


def test_the_shell_lines_give_exactly_the_environment(root, monkeypatch):
    monkeypatch.setenv("PATH", f"/odd dir:{os.environ['PATH']}")
    rehearsal = Rehearsal(root, "prod")
    rehearsal.prepare()
    python = shlex.quote(sys.executable)
    script = f'{rehearsal.shell()}\npwd\n{python} -c "import json, os; print(json.dumps(dict(os.environ)))"'
    lines = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert lines[0] == str(rehearsal.workdir)
    seen = json.loads(lines[1])
    assert {name: seen[name] for name in rehearsal.environment()} == rehearsal.environment()
    assert seen["PATH"].split(":")[:2] == [str(root / "rehearsal/bin"), str(root / ".engine/bin")]
    credentials = json.loads((rehearsal.folder / "adc.json").read_text())
    assert credentials["token_uri"] == seen["STORAGE_EMULATOR_HOST"] + "/token"


@pytest.mark.parametrize(
    ("stack", "text", "says"),
    [
        ("none", None, "Pulumi.none.yaml"),
        ("bad", "config: [", "not valid YAML"),
        ("list", "- a", "must be a mapping"),
    ],
)
def test_a_stack_file_that_cannot_be_used_is_named(root, stack, text, says):
    if text is not None:
        (root / f"Pulumi.{stack}.yaml").write_text(text)
    with pytest.raises(RehearsalError, match=says):
        Rehearsal(root, stack).prepare()


def test_a_missing_engine_names_the_command_that_installs_it(root, monkeypatch):
    (root / ".engine" / "bin" / "pulumi").unlink()
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(RehearsalError, match="make setup"):
        Rehearsal(root, "local").engine_bin()


def test_two_processes_cannot_hold_one_rehearsal(root):
    first, second = Rehearsal(root, "local"), Rehearsal(root, "local")
    with first.exclusive(), pytest.raises(RehearsalError, match="another process"), second.exclusive():
        pass
    with second.exclusive():
        pass


def test_what_is_left_over_is_listed_and_going_down_ends_every_process(root):
    rehearsal = Rehearsal(root, "local", root.parent / "world")
    running = Running(rehearsal.folder)
    rehearsal.stack_file()
    running.world.objects.put("acme-models", "models/x/manifest.json", b"{}")
    left = rehearsal.leftovers()
    assert "object acme-models/models/x/manifest.json" in left
    assert "storage.googleapis.com/buckets/acme-models" in left
    assert any("rehearsal.cloud" in line for line in left)
    assert not any("cloudresourcemanager" in line for line in left)
    rehearsal.down()
    assert not any(line.startswith("process") for line in rehearsal.leftovers())


def test_the_hub_that_the_environment_names_is_used(root, monkeypatch):
    rehearsal = Rehearsal(root, "local")
    rehearsal.prepare()
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example")
    assert rehearsal.hub() == "http://hub.example"
    assert World(rehearsal.folder).setting(driver_hub.SETTING) == "http://hub.example"


def test_the_loopback_hub_starts_once_answers_and_ends(root, monkeypatch):
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    monkeypatch.setattr(driver_hub, "_make_models", lambda *_: None)
    rehearsal = Rehearsal(root, "local")
    rehearsal.prepare()
    try:
        endpoint = rehearsal.hub(real=False)
        assert rehearsal.hub(real=False) == endpoint
        assert any("rehearsal.hub.server" in line for line in rehearsal.leftovers())
    finally:
        rehearsal.down()
    assert rehearsal.leftovers() == []


def test_the_loopback_hub_needs_the_images_environment(root, monkeypatch):
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    rehearsal = Rehearsal(root, "local")
    rehearsal.prepare()
    with pytest.raises(RehearsalError, match="make images"):
        rehearsal.hub(real=False)
