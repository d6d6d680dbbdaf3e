"""The commands in scripts/: how the test runner counts, and what the others say when something is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MACHINE = os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin", "/bin"])
OUTCOMES = """import pytest

def test_passes(): pass
def test_fails(): assert False
@pytest.mark.skip(reason="no moon tonight")
def test_skips(): pass
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The scripts alone, with installers that succeed at once and this environment's pytest."""
    root = tmp_path / "checkout"
    shutil.copytree(
        ROOT / "scripts", root / "scripts", ignore=shutil.ignore_patterns(".*_cache", "__pycache__")
    )
    installers = ("python", "engine", "images", "docker-engine", "kube-tools")
    for name in (*(f"install-{each}" for each in installers), "base-image"):
        program(root / "scripts" / name, "exit 0")
    (root / ".venv").symlink_to(sys.prefix)
    return root


def program(path: Path, body: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def write_tests(folder: Path, text: str) -> None:
    folder.mkdir(parents=True)
    (folder / "test_it.py").write_text(text)


def run(
    checkout: Path, name: str, *arguments: str, path: str = MACHINE, ci: bool = False
) -> subprocess.CompletedProcess[str]:
    env = {"PATH": path, "HOME": str(checkout), "CI": "true" if ci else ""}
    script = checkout / "scripts" / name
    return subprocess.run([script, *arguments], env=env, capture_output=True, text=True, timeout=120)


def last_line(answer: subprocess.CompletedProcess[str]) -> str:
    return answer.stdout.splitlines()[-1]


def test_the_last_line_counts_and_a_failure_is_the_exit_status(checkout: Path) -> None:
    write_tests(checkout / "tests/unit", OUTCOMES)
    write_tests(checkout / "tests/components", "def test_passes(): pass")
    answer = run(checkout, "test", "unit", "components")
    assert last_line(answer) == "2 passed, 1 failed, 1 skipped"
    assert answer.returncode == 1
    assert "skipped: unit: tests.unit.test_it::test_skips: no moon tonight" in answer.stdout


def test_all_suites_of_the_images_are_counted_as_one_tier(checkout: Path) -> None:
    images = ("weights", "serve", "torchserve")
    for folder in (*(f"images/{image}/tests" for image in images), "tests/images"):
        write_tests(checkout / folder, "def test_passes(): pass")
    for image in images:
        (checkout / "images" / image / ".venv").symlink_to(sys.prefix)
    answer = run(checkout, "test", "images")
    assert last_line(answer) == "4 passed, 0 failed, 0 skipped"
    assert answer.returncode == 0


def test_arguments_after_two_dashes_reach_pytest(checkout: Path) -> None:
    write_tests(checkout / "tests/unit", OUTCOMES)
    answer = run(checkout, "test", "unit", "--", "-k", "passes")
    assert last_line(answer) == "1 passed, 0 failed, 0 skipped"
    assert answer.returncode == 0


def test_a_file_that_cannot_be_imported_is_a_failure(checkout: Path) -> None:
    write_tests(checkout / "tests/unit", "import nothing_of_that_name")
    answer = run(checkout, "test", "unit")
    assert last_line(answer) == "0 passed, 1 failed, 0 skipped"


def test_pytest_ending_without_a_report_is_a_failure(checkout: Path) -> None:
    write_tests(checkout / "tests/components", "import os\n\ndef test_dies(): os._exit(7)")
    answer = run(checkout, "test", "components")
    assert "pytest ended with status 7 and named no failed test" in answer.stdout
    assert last_line(answer) == "0 passed, 1 failed, 0 skipped"


def test_a_test_that_ends_its_process_is_a_failure_where_tests_run_beside_each_other(checkout: Path) -> None:
    write_tests(checkout / "tests/unit", "import os\n\ndef test_dies(): os._exit(7)")
    answer = run(checkout, "test", "unit")
    assert "test_dies" in answer.stdout
    assert last_line(answer) == "0 passed, 1 failed, 0 skipped"


def test_a_tier_without_tests_is_a_failure(checkout: Path) -> None:
    answer = run(checkout, "test", "unit")
    assert "tests/unit has no tests" in answer.stdout
    assert last_line(answer) == "0 passed, 1 failed, 0 skipped"


@pytest.mark.parametrize(
    ("status", "ci", "failed"), [(1, False, 0), (1, True, 1), (3, False, 0), (3, True, 0)]
)
def test_what_cannot_be_installed_leaves_its_tier_out_and_fails_in_ci_unless_the_machine_forbids_it(
    checkout: Path, status: int, ci: bool, failed: int
) -> None:
    write_tests(checkout / "tests/unit", "def test_passes(): pass")
    write_tests(checkout / "tests/engine", "def test_passes(): pass")
    program(checkout / "scripts/install-engine", f"exit {status}")
    answer = run(checkout, "test", "unit", "engine", ci=ci)
    assert "left out: engine: scripts/install-engine did not succeed" in answer.stdout
    assert last_line(answer) == f"1 passed, {failed} failed, 0 skipped"
    assert answer.returncode == failed


def test_a_run_in_which_no_test_ran_does_not_succeed(checkout: Path) -> None:
    program(checkout / "scripts/install-python", "exit 1")
    assert run(checkout, "test", "unit").returncode == 1


def test_an_unknown_tier_is_refused_with_the_names_that_exist(checkout: Path) -> None:
    answer = run(checkout, "test", "units")
    assert answer.returncode == 2
    assert (
        "there is no tier units; there are unit, components, mutation, engine, images, kubernetes, docker"
        in answer.stderr
    )


def without(tmp_path: Path, *wanted: str) -> str:
    """A PATH that has these programs of the machine and no others."""
    folder = tmp_path / "few"
    folder.mkdir()
    for name in ("bash", "env", "dirname", *wanted):
        found = shutil.which(name, path=MACHINE)
        assert found is not None
        (folder / name).symlink_to(found)
    return str(folder)


def test_without_uv_and_python_the_remedy_is_named(checkout: Path, tmp_path: Path) -> None:
    answer = run(checkout, "uv", "--version", path=without(tmp_path, "awk", "sort", "head"))
    assert answer.returncode == 1
    assert "uv: python3 is needed to install uv" in answer.stderr


def test_an_old_uv_on_path_is_not_used(checkout: Path, tmp_path: Path) -> None:
    program(tmp_path / "old/uv", "echo uv 0.4.30")
    program(checkout / ".engine/uv/bin/uv", "echo uv 0.13.8 of our own")
    old = f"{tmp_path / 'old'}{os.pathsep}{MACHINE}"
    assert run(checkout, "uv", "--version", path=old).stdout == "uv 0.13.8 of our own\n"


def test_a_disk_without_room_for_pytorch_is_named_before_anything_is_fetched(
    checkout: Path, tmp_path: Path
) -> None:
    shutil.copy(ROOT / "scripts/install-images", checkout / "scripts/install-images")
    (checkout / "images/serve").mkdir(parents=True)
    (checkout / "images/serve/uv.lock").touch()
    program(tmp_path / "full/df", "echo header; echo disk 9 9 2097152 99% /")
    full = f"{tmp_path / 'full'}{os.pathsep}{MACHINE}"
    answer = run(checkout, "install-images", "serve", path=full)
    assert answer.returncode == 3
    assert "the environment of images/serve needs 12 GiB of disk" in answer.stderr
    assert "2 GiB free" in answer.stderr


def test_an_unknown_image_is_refused_with_the_names_that_exist(checkout: Path) -> None:
    shutil.copy(ROOT / "scripts/install-images", checkout / "scripts/install-images")
    answer = run(checkout, "install-images", "severe")
    assert answer.returncode == 1
    assert "unknown image severe; there are: weights, serve, torchserve, all" in answer.stderr


def test_stopping_the_docker_engine_spares_a_process_that_is_no_dockerd_of_ours(checkout: Path) -> None:
    with subprocess.Popen(["sleep", "300"]) as other:
        try:
            pid_file = checkout / ".docker-tier/dockerd.pid"
            pid_file.parent.mkdir()
            pid_file.write_text(str(other.pid))
            assert run(checkout, "stop-docker-engine").returncode == 0
            assert other.poll() is None
            assert not pid_file.exists()
        finally:
            other.kill()


def test_clean_refuses_to_forget_a_rehearsal_that_it_cannot_stop(checkout: Path) -> None:
    (checkout / ".venv").unlink()
    (checkout / ".rehearsal/local").mkdir(parents=True)
    (checkout / ".rehearsal/local/world.db").touch()
    answer = run(checkout, "clean")
    assert answer.returncode == 1
    assert "run make setup" in answer.stderr
    assert (checkout / ".rehearsal/local").is_dir()
