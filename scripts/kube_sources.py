"""The places that can give a Kubernetes control plane: the official releases, a build from source.

Each is a function that fills a folder with programs, or raises `Unavailable`.
"""

from __future__ import annotations

import http.client
import json
import os
import platform
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine_sources import ROOT, Unavailable, download, find_go, open_url, run_with_progress

KUBERNETES = "1.36.3"
ETCD = "3.6.8"
KWOK = "0.8.0"
CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
STAGES = "kwok-stages"
"""Folder beside the programs: what kwok has to be given to play a node."""

KUBERNETES_RELEASES = "https://dl.k8s.io"
ETCD_RELEASES = "https://github.com/etcd-io/etcd/releases/download"
_BASE = "k8s.io/component-base/version"
_CLIENT = "k8s.io/client-go/pkg/version"


@dataclass(frozen=True)
class Tools:
    """Programs that are installed together."""

    programs: tuple[str, ...]
    version: str
    places: dict[str, Callable[[Path], None]]


def version_of(program: Path) -> str:
    """Asks a program for its version, without a leading v; empty when it does not answer."""
    try:
        answer = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r"\bv?(\d+\.\d+\.\d+)\b", answer.stdout + answer.stderr)
    return found[1] if answer.returncode == 0 and found else ""


# --- official releases ----------------------------------------------------------------------------


def processor() -> str:
    """The processor as the releases name it; both publish for Linux only what is used here."""
    machine = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
    if platform.system() != "Linux" or platform.machine() not in machine:
        raise Unavailable(f"no official release for {platform.system()} on {platform.machine()}")
    return machine[platform.machine()]


def published(url: str) -> str:
    """The text of a file of checksums."""
    with open_url(url) as answer:
        text: str = answer.read().decode()
    return text


def fetch(url: str, target: Path, expected: str) -> None:
    """Downloads a file whose sha256 is known."""
    try:
        digest = download(url, target)
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"the download of {url} broke: {error}") from error
    if digest != expected:
        raise Unavailable(f"{url} has sha256 {digest}, the published one is {expected or 'missing'}")


def kubernetes_official(folder: Path) -> None:
    """The three programs of Kubernetes, each with its own checksum."""
    for name in CONTROL_PLANE:
        url = f"{KUBERNETES_RELEASES}/v{KUBERNETES}/bin/linux/{processor()}/{name}"
        fetch(url, folder / name, published(f"{url}.sha256").strip())
        (folder / name).chmod(0o755)


def etcd_official(folder: Path) -> None:
    """etcd out of its release archive."""
    release = f"etcd-v{ETCD}-linux-{processor()}"
    lines = published(f"{ETCD_RELEASES}/v{ETCD}/SHA256SUMS").splitlines()
    sums = {words[1]: words[0] for words in map(str.split, lines) if len(words) == 2}
    archive = folder / "etcd.tar.gz"
    fetch(f"{ETCD_RELEASES}/v{ETCD}/{release}.tar.gz", archive, sums.get(f"{release}.tar.gz", ""))
    with tarfile.open(archive) as tar:
        content = tar.extractfile(f"{release}/etcd")
        if content is None:
            raise Unavailable(f"{release}.tar.gz has no etcd")
        with content, (folder / "etcd").open("wb") as file:
            shutil.copyfileobj(content, file)
    archive.unlink()
    (folder / "etcd").chmod(0o755)


# --- a build from the Go module proxy -------------------------------------------------------------


def build(module: str, what: str, flags: str, output: Path, *packages: str) -> None:
    """Compiles packages of one of the pinned modules in tools/, without a C compiler."""
    go = find_go()
    os.environ["CGO_ENABLED"] = "0"
    command = [go, "build", "-v", "-ldflags", f"-s -w {flags}".strip(), "-o", str(output), *packages]
    run_with_progress(command, ROOT / "tools" / module, what)


def kubernetes_build(folder: Path) -> None:
    """The three programs; clients reject the version of one that does not say it."""
    major, minor, _ = KUBERNETES.split(".")
    facts = {
        "gitVersion": f"v{KUBERNETES}",
        "gitMajor": major,
        "gitMinor": minor,
        "gitTreeState": "clean",
    }
    flags = " ".join(f"-X {each}.{key}={value}" for each in (_BASE, _CLIENT) for key, value in facts.items())
    packages = [f"k8s.io/kubernetes/cmd/{name}" for name in CONTROL_PLANE]
    build("kubernetes", f"Kubernetes {KUBERNETES}", flags, folder, *packages)


def etcd_build(folder: Path) -> None:
    """etcd, in the version that Kubernetes' own module asks for."""
    build("kubernetes", f"etcd {ETCD}", "", folder / "etcd", "go.etcd.io/etcd/server/v3")


def kwok_build(folder: Path) -> None:
    """kwok and its stages, which lie in the same module."""
    flags = f"-X sigs.k8s.io/kwok/pkg/consts.Version={KWOK}"
    build("kwok", f"kwok {KWOK}", flags, folder / "kwok", "sigs.k8s.io/kwok/cmd/kwok")
    command = [find_go(), "mod", "download", "-json", f"sigs.k8s.io/kwok@v{KWOK}"]
    answer = subprocess.run(command, cwd=ROOT / "tools/kwok", capture_output=True, text=True)
    module = json.loads(answer.stdout or "{}").get("Dir")
    if module is None:
        raise Unavailable(f"the Go module of kwok {KWOK} cannot be read: {answer.stderr.strip()}")
    shutil.copytree(Path(module) / "kustomize/stage", folder / STAGES)
    for path in (folder / STAGES, *(folder / STAGES).rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)  # the module cache is read-only


TOOLS: dict[str, Tools] = {
    "etcd": Tools(("etcd",), ETCD, {"official": etcd_official, "build": etcd_build}),
    "kubernetes": Tools(
        CONTROL_PLANE, KUBERNETES, {"official": kubernetes_official, "build": kubernetes_build}
    ),
    # The build alone: go.sum covers the stages as well as the program.
    "kwok": Tools(("kwok",), KWOK, {"build": kwok_build}),
}
