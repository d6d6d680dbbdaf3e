"""`llmstack doctor`: what a cluster needs by hand is named, and its lack stops nobody."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmstack.commands import doctor
from llmstack.main import app
from rehearsal.cluster import programs

VERSIONS = {"kubectl": "Client Version: v1.36.2", "gke-gcloud-auth-plugin": "Kubernetes v1.36.2"}


def found(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, str]]:
    # Whether something is reachable is not this test's question.
    monkeypatch.setattr(doctor, "_reach", lambda name, *_: doctor.Check(name, "absent", "not asked"))
    done = CliRunner().invoke(app, ["doctor", "--json"])
    return {check["name"]: check for check in json.loads(done.stdout)}


def test_the_programs_for_a_cluster_are_optional_and_have_a_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    checks = found(monkeypatch)
    assert {checks[name]["state"] for name in VERSIONS} == {"absent"}
    assert checks["gke-gcloud-auth-plugin"]["fix"].endswith(
        "gcloud components install gke-gcloud-auth-plugin"
    )
    for name, version in VERSIONS.items():
        (tmp_path / name).write_text(f"#!/bin/sh\necho '{version}'\n")
        (tmp_path / name).chmod(0o755)
    checks = found(monkeypatch)
    assert {name: (checks[name]["state"], checks[name]["found"]) for name in VERSIONS} == {
        name: ("ok", version) for name, version in VERSIONS.items()
    }


def test_what_a_rehearsal_of_torchserve_needs_is_optional_and_has_a_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    check = found(monkeypatch)["environment of images/torchserve"]
    assert (check["state"], "no Java" in check["found"]) == ("absent", True)
    assert check["fix"].endswith("make images, and Java 17 on PATH")
    (tmp_path / "java").write_text("#!/bin/sh\necho 'openjdk version 17.0.9' >&2\n")
    (tmp_path / "java").chmod(0o755)
    python = tmp_path / "images/torchserve/.venv/bin/python"
    python.parent.mkdir(parents=True)
    python.touch()
    whole = doctor._torchserve(tmp_path)
    assert (whole.state, whole.found.endswith("openjdk version 17.0.9")) == ("ok", True)


def test_a_control_plane_is_optional_and_has_a_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "FOLDER", tmp_path)
    check = found(monkeypatch)["Kubernetes control plane"]
    assert (check["state"], check["fix"].rpartition(": ")[2]) == ("absent", "make kube-tools")
    for name in programs.NAMES:
        (tmp_path / name).touch()
    assert found(monkeypatch)["Kubernetes control plane"]["state"] == "ok"
