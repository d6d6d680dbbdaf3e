"""What must never happen: a destroyed protected service, a secret in the open, a real stack touched."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.engine.conftest import BASE, MakeLab
from tests.engine.lab import CHECKOUT, STACK, find_in_files, make_project, without_components

CANARY = "hf_CanaryThatMustStaySecret0123456789"
PROTECTED = BASE.replace("llm:environment: local", "llm:environment: staging")


def test_destroy_is_blocked_by_protection_and_the_message_says_what_to_set(make_lab: MakeLab) -> None:
    lab = make_lab(PROTECTED)
    up = lab.up()
    assert not up.failed, up.output
    blocked = lab.destroy()
    assert blocked.failed
    assert "deletion_protection" in blocked.output.lower() or "deletionprotection" in blocked.output.lower()
    assert "false" in blocked.output
    assert lab.names("run.service")
    assert lab.names("storage.bucket")
    assert lab.world().objects.list(f"llm-test-{STACK}-models", "")


def test_a_protected_stack_can_be_unprotected_and_destroyed(make_lab: MakeLab) -> None:
    lab = make_lab(PROTECTED)
    assert not lab.up().failed
    lab.set("llm:environment", "dev")
    unprotected = lab.up()
    assert not unprotected.failed, unprotected.output
    assert set(without_components(unprotected.changed()).values()) == {"update"}
    destroyed = lab.destroy()
    assert not destroyed.failed, destroyed.output


def test_a_planted_token_stands_in_no_state_log_plan_or_output(make_lab: MakeLab) -> None:
    lab = make_lab()
    lab.pulumi("config", "set", "--secret", "llm:hubToken", CANARY)
    previewed = lab.preview()
    first = lab.up()
    assert not first.failed, first.output
    assert lab.names("secretmanager.secret")
    outputs = previewed.output + first.output + lab.up().output + lab.state()
    assert CANARY not in outputs
    plan = subprocess.run(
        [sys.executable, "-m", "llmstack.main", "plan", STACK, "--json"],
        cwd=lab.root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert CANARY not in plan.stdout + plan.stderr
    # The rehearsed Secret Manager is the one place that must know it: it hands it to the job.
    allowed = lab.rehearsal.folder / "secrets"
    found = [path for path in find_in_files(lab.rehearsal.folder, CANARY) if allowed not in path.parents]
    assert found == []
    held = find_in_files(allowed, CANARY)
    assert held
    assert all(path.stat().st_mode & 0o077 == 0 for path in held)


def test_rehearsing_a_real_stack_leaves_its_file_as_it_was(make_lab: MakeLab, tmp_path: Path) -> None:
    lab = make_lab(BASE.replace("llm:environment: local", "llm:environment: prod"))
    source = lab.root / f"Pulumi.{STACK}.yaml"
    real = (
        "secretsprovider: gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k\n"
        "encryptedkey: AAAA\n"
        + source.read_text(encoding="utf-8")
        + "  llm:hubToken: {secure: v1:real:cipher}\n"
    )
    source.write_text(real, encoding="utf-8")
    lab.rehearsal.prepare()
    assert lab.rehearsal.workdir != lab.root
    result = lab.up()
    assert not result.failed, result.output
    assert source.read_text(encoding="utf-8") == real
    copied = yaml.safe_load((lab.rehearsal.workdir / source.name).read_text(encoding="utf-8"))
    assert "secretsprovider" not in copied
    assert "v1:real:cipher" not in str(copied)


@pytest.mark.parametrize("plugin", ["gcp", "docker-build"])
def test_a_stand_in_does_not_start_outside_a_rehearsal(plugin: str) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "LLMSTACK_REHEARSAL"}
    done = subprocess.run(
        [CHECKOUT / f"rehearsal/bin/pulumi-resource-{plugin}", "127.0.0.1:1"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "LLMSTACK_REHEARSAL" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_rehearsed_state_is_not_taken_for_another_rehearsals(make_lab: MakeLab) -> None:
    lab, other = make_lab(), make_lab()
    assert not lab.up().failed
    lab.variables["LLMSTACK_REHEARSAL"] = str(other.rehearsal.folder)
    done = lab.pulumi("up", "--yes", "--stack", STACK, check=False)
    assert done.returncode != 0
    assert "another rehearsed cloud" in done.stdout + done.stderr


def test_a_fixed_name_that_exists_already_is_refused_and_never_adopted(make_lab: MakeLab) -> None:
    lab = make_lab()
    name = "iam.googleapis.com/projects/llm-test/serviceAccounts/"
    email = f"{STACK}-assistant-serve@llm-test.iam.gserviceaccount.com"
    lab.world().insert("iam.serviceAccount", name + email, {"email": email, "displayName": "somebody else's"})
    result = lab.up()
    assert result.failed
    assert "already exists" in result.output
    record = lab.world().get(name + email)
    assert record is not None
    assert record.body["displayName"] == "somebody else's"


def test_a_changed_image_rolls_the_service_and_an_unchanged_one_does_not(
    make_lab: MakeLab, tmp_path: Path
) -> None:
    lab = make_lab()
    copy_images(lab.root)
    assert not lab.up().failed
    assert lab.up().changed() == {}
    source = lab.root / "images/serve/src/serve/__init__.py"
    source.write_text(source.read_text(encoding="utf-8") + "\n# changed\n", encoding="utf-8")
    changed = without_components(lab.up().changed())
    assert changed == {"image-serve-build": "update", "assistant-service": "update"}


def copy_images(root: Path) -> None:
    """Give a project images of its own, so that a test may change them."""
    link = root / "images"
    link.unlink()
    for name in ("serve", "weights"):
        target = link / name
        (target / "src").mkdir(parents=True)
        for path in sorted((CHECKOUT / "images" / name).rglob("*")):
            relative = path.relative_to(CHECKOUT / "images" / name)
            if (
                relative.parts[0] not in (".venv", "tests")
                and path.is_file()
                and "__pycache__" not in path.parts
            ):
                (target / relative).parent.mkdir(parents=True, exist_ok=True)
                (target / relative).write_bytes(path.read_bytes())
        (target / ".venv").symlink_to(CHECKOUT / "images" / name / ".venv")


def test_a_project_folder_is_one_of_its_own(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p", BASE)
    assert (project / "stacks").is_symlink()
    assert not (project / "Pulumi.yaml").is_symlink()
