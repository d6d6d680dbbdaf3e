"""scripts/install-engine: where it finds the engine, what it says when it cannot, what a kill leaves."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from types import ModuleType

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = (
    "pulumi",
    "pulumi-language-python",
    "pulumi-language-python-exec",
    "pulumi-resource-pulumi-python",
)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with nothing but the scripts and the pinned modules."""
    root = tmp_path / "checkout"
    shutil.copytree(
        ROOT / "scripts", root / "scripts", ignore=shutil.ignore_patterns(".*_cache", "__pycache__")
    )
    shutil.copytree(ROOT / "tools", root / "tools")
    return root


def program(path: Path, body: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def fake_pulumi(folder: Path, version: str, programs: tuple[str, ...] = PROGRAMS) -> Path:
    for name in programs:
        program(folder / name, f"echo v{version}")
    return folder


def command(checkout: Path, *arguments: str) -> list[str]:
    return [sys.executable, str(checkout / "scripts/install-engine"), *arguments]


def variables(place: str, *path: Path) -> dict[str, str]:
    return {"PATH": os.pathsep.join([*map(str, path), "/usr/bin", "/bin"]), "PULUMI_ENGINE": place}


def run(checkout: Path, place: str, *path: Path, check: bool = False) -> subprocess.CompletedProcess[str]:
    arguments = ("--check",) if check else ()
    return subprocess.run(
        command(checkout, *arguments), env=variables(place, *path), capture_output=True, text=True, timeout=60
    )


def test_check_of_an_empty_checkout_fails_and_writes_nothing(checkout: Path) -> None:
    answer = run(checkout, "", check=True)
    assert answer.returncode == 1
    assert "is not installed" in answer.stdout
    assert not (checkout / ".engine").exists()


def test_a_new_enough_pulumi_on_path_is_linked_and_the_second_run_changes_nothing(
    checkout: Path, tmp_path: Path
) -> None:
    home = fake_pulumi(tmp_path / "opt", "3.240.0")
    assert run(checkout, "", home).returncode == 0
    assert (checkout / ".engine/version").read_text() == "3.240.0 path\n"
    assert {link.name for link in (checkout / ".engine/bin/").iterdir()} == set(PROGRAMS)
    before = (checkout / ".engine/bin").readlink()
    again = run(checkout, "", home)
    assert again.returncode == 0
    assert "3.240.0 (from path)" in again.stdout
    assert (checkout / ".engine/bin").readlink() == before
    assert run(checkout, "", home, check=True).returncode == 0


def test_installs_at_the_same_time_end_in_one_whole_engine(checkout: Path, tmp_path: Path) -> None:
    env = variables("path", fake_pulumi(tmp_path / "opt", "3.240.0"))
    started = [subprocess.Popen(command(checkout), env=env, stdout=subprocess.DEVNULL) for _ in range(4)]
    assert [process.wait(60) for process in started] == [0, 0, 0, 0]
    assert len(list((checkout / ".engine/releases").iterdir())) == 1
    assert run(checkout, "path", check=True).returncode == 0


def test_an_engine_that_lost_a_program_is_installed_again(checkout: Path, tmp_path: Path) -> None:
    home = fake_pulumi(tmp_path / "opt", "3.240.0")
    assert run(checkout, "path", home).returncode == 0
    (checkout / ".engine/bin/pulumi-language-python").unlink()
    assert run(checkout, "path", home, check=True).returncode == 1
    assert run(checkout, "path", home).returncode == 0
    assert run(checkout, "path", home, check=True).returncode == 0


@pytest.mark.parametrize(
    ("version", "programs", "reason"),
    [
        ("3.100.0", PROGRAMS, "is version 3.100.0, at least 3.220.0 is needed"),
        ("3.240.0", PROGRAMS[:1], "has no pulumi-language-python"),
    ],
)
def test_a_pulumi_that_will_not_do_is_refused_with_the_reason_and_the_remedy(
    checkout: Path, tmp_path: Path, version: str, programs: tuple[str, ...], reason: str
) -> None:
    answer = run(checkout, "path", fake_pulumi(tmp_path / "opt", version, programs))
    assert answer.returncode == 1
    assert reason in answer.stderr
    assert "https://www.pulumi.com/docs/install/" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert list((checkout / ".engine/releases").iterdir()) == []


def test_the_engine_of_the_checkout_is_not_taken_for_one_of_the_machine(checkout: Path) -> None:
    own = fake_pulumi(checkout / ".engine/releases/half", "3.250.0")
    (checkout / ".engine/bin").symlink_to("releases/half")
    answer = run(checkout, "path", own, checkout / ".engine/bin")
    assert "no pulumi on PATH" in answer.stderr


def test_an_old_go_is_named_with_the_version_that_is_needed(checkout: Path, tmp_path: Path) -> None:
    program(tmp_path / "go/go", "echo go version go1.19.8 linux/amd64")
    answer = run(checkout, "build", tmp_path / "go")
    assert answer.returncode == 1
    assert "is version 1.19, at least 1.21 is needed" in answer.stderr


def test_an_unknown_place_is_refused_by_name(checkout: Path) -> None:
    answer = run(checkout, "brew")
    assert answer.returncode == 2
    assert "PULUMI_ENGINE=brew is none of path, official, build" in answer.stderr


def fake_go(folder: Path, sdk: Path, build: str) -> Path:
    """A go that knows its version and where the SDK lies, and builds as told."""
    program(
        folder / "go",
        f"""case $1 in
version) echo go version go1.26.0 linux/amd64 ;;
mod) echo '{{"Dir": "{sdk}"}}' ;;
build) {build} ;;
esac""",
    )
    return folder


def test_a_build_that_fails_shows_the_compilers_last_words(checkout: Path, tmp_path: Path) -> None:
    go = fake_go(tmp_path / "go", tmp_path, "echo no space left on device >&2; exit 1")
    answer = run(checkout, "build", go)
    assert answer.returncode == 1
    assert "building pulumi 3.250.0 failed" in answer.stderr
    assert "no space left on device" in answer.stderr


def test_a_terminated_build_stops_its_compiler_and_leaves_nothing(checkout: Path, tmp_path: Path) -> None:
    mark = tmp_path / "compiler.pid"
    go = fake_go(tmp_path / "go", tmp_path, f"echo $$ > {mark}.new; mv {mark}.new {mark}; exec sleep 300")
    install = subprocess.Popen(command(checkout), env=variables("build", go), stdout=subprocess.DEVNULL)
    while not mark.exists():
        assert install.poll() is None
        time.sleep(0.05)
    compiler = psutil.Process(int(mark.read_text()))
    install.send_signal(signal.SIGTERM)
    assert install.wait(60) == 143
    psutil.wait_procs([compiler], timeout=30)
    assert not compiler.is_running() or compiler.status() == psutil.STATUS_ZOMBIE
    assert not (checkout / ".engine/bin").exists()
    assert not (checkout / ".engine/version").exists()
    assert list((checkout / ".engine/releases").iterdir()) == []


@pytest.fixture
def sources(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module with the three places, whose downloads a test gives."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    spec = importlib.util.spec_from_file_location("engine_sources", ROOT / "scripts/engine_sources.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def release(names: tuple[str, ...]) -> bytes:
    """A release archive with one small program for each name."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 2
            tar.addfile(member, io.BytesIO(b"ok"))
    return content.getvalue()


def serve(
    monkeypatch: pytest.MonkeyPatch, sources: ModuleType, archive: bytes, checksums: str | None
) -> None:
    def open_url(url: str) -> io.BytesIO:
        if not url.endswith("-checksums.txt"):
            return io.BytesIO(archive)
        if checksums is None:
            raise sources.Unavailable("Not Found")
        return io.BytesIO(checksums.encode())

    monkeypatch.setattr(sources, "open_url", open_url)
    monkeypatch.setattr(sources, "release_name", lambda: "release.tar.gz")


@pytest.mark.parametrize("published", [True, False])
def test_a_release_is_unpacked_flat_into_its_folder(
    monkeypatch: pytest.MonkeyPatch, sources: ModuleType, tmp_path: Path, published: bool
) -> None:
    archive = release(("pulumi/pulumi", "pulumi/pulumi-language-python", "../../escaped"))
    checksums = f"{hashlib.sha256(archive).hexdigest()}  release.tar.gz\n" if published else None
    serve(monkeypatch, sources, archive, checksums)
    folder = tmp_path / "a/b/new"
    folder.mkdir(parents=True)
    assert sources.from_official(folder) == "3.250.0"
    assert {path.name for path in folder.iterdir()} == {"pulumi", "pulumi-language-python", "escaped"}
    assert os.access(folder / "pulumi", os.X_OK)
    assert not (tmp_path / "a/escaped").exists()


def test_a_release_with_another_checksum_than_the_published_one_is_refused(
    monkeypatch: pytest.MonkeyPatch, sources: ModuleType, tmp_path: Path
) -> None:
    serve(monkeypatch, sources, release(("pulumi/pulumi",)), f"{'0' * 64}  release.tar.gz\n")
    with pytest.raises(sources.Unavailable, match="the published one is 0000"):
        sources.from_official(tmp_path)


def test_a_release_that_breaks_off_is_unavailable_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, sources: ModuleType, tmp_path: Path
) -> None:
    archive = release(("pulumi/pulumi",))
    serve(monkeypatch, sources, archive[: len(archive) // 2], None)
    with pytest.raises(sources.Unavailable, match=r"the download of release\.tar\.gz broke"):
        sources.from_official(tmp_path)
