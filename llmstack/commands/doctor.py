"""`llmstack doctor`: what is installed, reachable and missing here, and the fix."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import httpx
import typer

from llmstack.output import GIB, print_json, print_table
from llmstack.project import find_root
from rehearsal.cluster.programs import FOLDER, missing

REACH_SECONDS = 4.0
SERVE_ENVIRONMENT_GIB = 8


@dataclass(frozen=True)
class Check:
    """One finding; `state` is `ok`, `missing` (a fix is needed) or `absent` (needed for some work only)."""

    name: str
    state: str
    found: str
    fix: str = ""


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """What is installed, reachable and missing on this machine, and the fix."""
    root = find_root()
    probes: list[Callable[[], Check]] = [
        _python,
        lambda: _engine(root),
        lambda: _image(root, "weights"),
        lambda: _image(root, "serve"),
        lambda: _torchserve(root),
        lambda: _disk(root),
        _docker,
        _gcloud,
        _kubectl,
        _gke_plugin,
        _control_plane,
        _credentials,
        lambda: _reach(
            "Hugging Face Hub", "https://huggingface.co", "the demo then makes small models itself"
        ),
        lambda: _reach("Google Cloud", "https://run.googleapis.com", "only the rehearsed cloud works"),
        lambda: _reach("engine downloads", "https://get.pulumi.com", "the engine is then built from source"),
    ]
    with ThreadPoolExecutor(len(probes)) as pool:
        checks = list(pool.map(lambda probe: probe(), probes))
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        rows = [(check.name, check.state, check.found, check.fix) for check in checks]
        print_table("This machine", ("what", "state", "found", "fix"), rows)
    if any(check.state == "missing" for check in checks):
        raise typer.Exit(1)


def _run(*command: str) -> str | None:
    """First line that `command` prints, or None when it is missing, fails or hangs."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return (done.stdout.strip() or done.stderr.strip()).split("\n")[0]


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    return Check("Python", "ok", f"{version} in {sys.prefix}")


def _engine(root: Path) -> Check:
    installed = root / ".engine/bin/pulumi"
    command = str(installed) if installed.exists() else shutil.which("pulumi")
    version = _run(command, "version") if command else None
    if version is None:
        return Check("Pulumi engine", "missing", "none", "make setup")
    return Check("Pulumi engine", "ok", f"{version} at {command}")


def _image(root: Path, name: str) -> Check:
    python = root / "images" / name / ".venv/bin/python"
    if python.exists():
        return Check(f"environment of images/{name}", "ok", str(python.parent.parent))
    return Check(f"environment of images/{name}", "missing", "not installed", "make images")


def _torchserve(root: Path) -> Check:
    """What a rehearsal of engine torchserve runs without a Docker engine."""
    python, name = root / "images/torchserve/.venv/bin/python", "environment of images/torchserve"
    java = _run("java", "-version") if shutil.which("java") else None
    if python.exists() and java:
        return Check(name, "ok", f"{python.parent.parent}, {java}")
    lacks = [*([] if python.exists() else ["not installed"]), *([] if java else ["no Java"])]
    fix = "needed only to rehearse engine torchserve: make images, and Java 17 on PATH"
    return Check(name, "absent", ", ".join(lacks), fix)


def _disk(root: Path) -> Check:
    free = shutil.disk_usage(root).free
    state = "ok" if free >= SERVE_ENVIRONMENT_GIB * GIB else "missing"
    fix = "" if state == "ok" else f"free {SERVE_ENVIRONMENT_GIB} GiB: the serving environment holds torch"
    return Check("disk", state, f"{free / GIB:.0f} GiB free", fix)


def _docker() -> Check:
    version = _run("docker", "version", "--format", "{{.Server.Version}}") if shutil.which("docker") else None
    if version:
        return Check("Docker engine", "ok", version)
    return Check(
        "Docker engine", "absent", "none answers", "start Docker; without it containers run as processes"
    )


def _gcloud() -> Check:
    version = _run("gcloud", "--version") if shutil.which("gcloud") else None
    if version:
        return Check("gcloud", "ok", version)
    return Check("gcloud", "absent", "not installed", "needed only for a real project: cloud.google.com/sdk")


def _kubectl() -> Check:
    version = _run("kubectl", "version", "--client") if shutil.which("kubectl") else None
    if version:
        return Check("kubectl", "ok", version)
    fix = "needed only to look into a cluster by hand: gcloud components install kubectl"
    return Check("kubectl", "absent", "not installed", fix)


def _gke_plugin() -> Check:
    name = "gke-gcloud-auth-plugin"
    version = _run(name, "--version") if shutil.which(name) else None
    if version:
        return Check(name, "ok", version)
    fix = (
        "needed only for topology gke-tpu in a real project: gcloud components install gke-gcloud-auth-plugin"
    )
    return Check(name, "absent", "not installed", fix)


def _control_plane() -> Check:
    name = "Kubernetes control plane"
    if not missing():
        return Check(name, "ok", str(FOLDER))
    fix = "without it a rehearsal of topology gke-tpu keeps objects and runs no pods: make kube-tools"
    return Check(name, "absent", "not built", fix)


def _credentials() -> Check:
    default = Path("~/.config/gcloud/application_default_credentials.json").expanduser()
    path = Path(os.environ.get("GOOGLE_APPLICATION_CREDENTIALS", default))
    if path.is_file():
        return Check("Google credentials", "ok", str(path))
    fix = "needed only for a real project: gcloud auth application-default login"
    return Check("Google credentials", "absent", "none", fix)


def _reach(name: str, url: str, otherwise: str) -> Check:
    try:
        status = httpx.head(url, timeout=REACH_SECONDS).status_code
    except httpx.HTTPError as error:
        return Check(name, "absent", f"{url}: {type(error).__name__}", otherwise)
    return Check(name, "ok", f"{url} answers {status}")
