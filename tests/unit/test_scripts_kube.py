"""scripts/install-kube-tools: where it finds the programs, what it says without, what a kill leaves."""

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
# A go that makes programs which say the version that is linked into them, as the real ones do.
GO = """case $1 in
version) echo go version go1.26.0 linux/amd64 ;;
mod) echo "{{\\"Dir\\": \\"{module}\\"}}" ;;
build)
  echo built >> {log}
  while [ $# -gt 0 ]; do
    if [ "$1" = -o ]; then out=$2; fi
    if [ "$1" = -ldflags ]; then flags=$2; fi
    last=$1
    case $1 in k8s.io/*) packages="$packages ${{1##*/}}" ;; esac
    shift
  done
  case $flags in *gitVersion=*) version=${{flags##*gitVersion=}}; version=${{version%% *}} ;;
  *consts.Version=*) version=${{flags##*consts.Version=}} ;; *) version=3.6.8 ;; esac
  for program in ${{packages:-.}}; do
    file=$out; if [ -d "$out" ]; then file=$out/$program; fi
    printf '#!/bin/sh\\necho version %s\\n' "$version" > "$file"; chmod +x "$file"
  done ;;
esac"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with nothing but the scripts and the pinned modules."""
    root = tmp_path / "checkout"
    shutil.copytree(
        ROOT / "scripts", root / "scripts", ignore=shutil.ignore_patterns(".*_cache", "__pycache__")
    )
    shutil.copytree(ROOT / "tools", root / "tools")
    return root


@pytest.fixture
def go(tmp_path: Path) -> Path:
    """The folder of a go that builds at once; it counts its builds in `log`."""
    stages = tmp_path / "module/kustomize/stage/node"
    stages.mkdir(parents=True)
    (stages / "ready.yaml").write_text("kind: Stage")
    return program(tmp_path / "go/go", GO.format(module=tmp_path / "module", log=tmp_path / "go/log")).parent


def program(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def command(checkout: Path, *arguments: str) -> list[str]:
    return [sys.executable, str(checkout / "scripts/install-kube-tools"), *arguments]


def variables(place: str, *path: Path) -> dict[str, str]:
    return {"PATH": os.pathsep.join([*map(str, path), "/usr/bin", "/bin"]), "KUBE_TOOLS": place}


def run(checkout: Path, place: str, *arguments: str, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(checkout, *arguments),
        env=variables(place, path),
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_check_of_an_empty_checkout_fails_and_writes_nothing(checkout: Path, go: Path) -> None:
    answer = run(checkout, "", "--check", path=go)
    assert answer.returncode == 1
    assert "kubernetes 1.36.3 is not installed" in answer.stdout
    assert not (checkout / ".engine").exists()


def test_the_control_plane_is_built_once(checkout: Path, go: Path) -> None:
    assert run(checkout, "build", path=go).returncode == 0
    made = {path.name for path in (checkout / ".engine/kube/bin").iterdir()}
    assert made == {
        *("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"),
        *("kwok", "kwok-stages"),
    }
    assert (checkout / ".engine/kube/bin/kwok-stages/node/ready.yaml").is_file()
    assert (checkout / ".engine/kube/kubernetes.stamp").read_text() == "1.36.3 build\n"
    again = run(checkout, "build", path=go)
    assert again.returncode == 0
    assert "etcd 3.6.8 (from build)" in again.stdout
    assert (go / "log").read_text().count("built") == 3
    assert list((checkout / ".engine/kube").glob("new-*")) == []


def test_what_lost_a_program_or_has_an_old_version_is_made_again(checkout: Path, go: Path) -> None:
    assert run(checkout, "build", "etcd", "kubernetes", path=go).returncode == 0
    (checkout / ".engine/kube/bin/kube-scheduler").unlink()
    (checkout / ".engine/kube/etcd.stamp").write_text("3.5.0 build\n")
    assert run(checkout, "build", "--check", "etcd", "kubernetes", path=go).returncode == 1
    assert run(checkout, "build", "etcd", "kubernetes", path=go).returncode == 0
    assert (go / "log").read_text().count("built") == 4


def test_installs_at_the_same_time_build_once(checkout: Path, go: Path) -> None:
    env = variables("build", go)
    started = [
        subprocess.Popen(command(checkout, "etcd"), env=env, stdout=subprocess.DEVNULL) for _ in range(3)
    ]
    assert [process.wait(60) for process in started] == [0, 0, 0]
    assert (go / "log").read_text().count("built") == 1


def test_without_go_and_a_way_out_the_remedy_is_named(checkout: Path, tmp_path: Path) -> None:
    program(tmp_path / "old/go", "echo go version go1.19.8 linux/amd64")
    answer = run(checkout, "build", "kubernetes", path=tmp_path / "old")
    assert answer.returncode == 1
    assert "is version 1.19, at least 1.21 is needed" in answer.stderr
    assert "https://dl.k8s.io" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_unknown_tools_and_places_are_refused_by_name(checkout: Path, go: Path) -> None:
    assert "there is no helm; there are etcd, kubernetes, kwok" in run(checkout, "", "helm", path=go).stderr
    assert "KUBE_TOOLS=brew is none of official, build" in run(checkout, "brew", path=go).stderr


def test_a_program_that_says_another_version_is_not_installed(checkout: Path, tmp_path: Path) -> None:
    body = GO.format(module=tmp_path, log=tmp_path / "log").replace("version=3.6.8", "version=3.4.0")
    answer = run(checkout, "build", "etcd", path=program(tmp_path / "go/go", body).parent)
    assert answer.returncode == 1
    assert "the etcd from there says version 3.4.0, not 3.6.8" in answer.stderr
    assert not (checkout / ".engine/kube/bin").exists()


def test_a_terminated_build_stops_its_compiler_and_leaves_nothing(checkout: Path, tmp_path: Path) -> None:
    mark = tmp_path / "compiler.pid"
    slow = f"echo $$ > {mark}.new; mv {mark}.new {mark}; exec sleep 300"
    body = f"case $1 in\nversion) echo go version go1.26.0 linux/amd64 ;;\nbuild) {slow} ;;\nesac"
    folder = program(tmp_path / "go/go", body).parent
    install = subprocess.Popen(
        command(checkout, "etcd"), env=variables("build", folder), stdout=subprocess.DEVNULL
    )
    while not mark.exists():
        assert install.poll() is None
        time.sleep(0.05)
    compiler = psutil.Process(int(mark.read_text()))
    install.send_signal(signal.SIGTERM)
    assert install.wait(60) == 143
    psutil.wait_procs([compiler], timeout=30)
    assert not compiler.is_running() or compiler.status() == psutil.STATUS_ZOMBIE
    assert sorted(path.name for path in (checkout / ".engine/kube").iterdir()) == ["lock"]


@pytest.fixture
def sources(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module with the places, whose downloads a test gives."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    spec = importlib.util.spec_from_file_location("kube_sources", ROOT / "scripts/kube_sources.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "kube_sources", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "processor", lambda: "amd64")
    return module


def serve(monkeypatch: pytest.MonkeyPatch, sources: ModuleType, files: dict[str, bytes]) -> None:
    """Answer each address by its end."""

    def open_url(url: str) -> io.BytesIO:
        return io.BytesIO(files[url.rpartition("/")[2]])

    monkeypatch.setattr(sources, "open_url", open_url)
    monkeypatch.setattr(sys.modules[sources.download.__module__], "open_url", open_url)


def sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def test_official_programs_are_taken_with_the_right_checksum_only(
    monkeypatch: pytest.MonkeyPatch, sources: ModuleType, tmp_path: Path
) -> None:
    files = {name: name.encode() for name in sources.CONTROL_PLANE}
    sums = {f"{name}.sha256": sha256(content) for name, content in files.items()}
    serve(monkeypatch, sources, {**files, **sums})
    sources.kubernetes_official(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(files)
    assert os.access(tmp_path / "kube-scheduler", os.X_OK)
    serve(monkeypatch, sources, {**files, **sums, "kube-scheduler": b"another"})
    with pytest.raises(sources.Unavailable, match="the published one is"):
        sources.kubernetes_official(tmp_path)


def test_etcd_comes_out_of_its_archive_and_is_checked_against_the_list(
    monkeypatch: pytest.MonkeyPatch, sources: ModuleType, tmp_path: Path
) -> None:
    content, folder = io.BytesIO(), "etcd-v3.6.8-linux-amd64"
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        member = tarfile.TarInfo(f"{folder}/etcd")
        member.size = 2
        tar.addfile(member, io.BytesIO(b"ok"))
    archive = content.getvalue()
    listed = sha256(archive) + f"  {folder}.tar.gz\n".encode()
    serve(monkeypatch, sources, {f"{folder}.tar.gz": archive, "SHA256SUMS": listed})
    sources.etcd_official(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["etcd"]
    serve(monkeypatch, sources, {f"{folder}.tar.gz": archive, "SHA256SUMS": b""})
    with pytest.raises(sources.Unavailable, match="the published one is missing"):
        sources.etcd_official(tmp_path)
