"""The processes of a rehearsal: finding them all, and ending them."""

from __future__ import annotations

import json
import logging
import shutil
import time
from pathlib import Path

import psutil

from rehearsal.cloud.client import CloudClient, CloudError, running
from rehearsal.runner import docker
from rehearsal.runner.process import WORKLOAD_VARIABLE, same_process

STOP_SECONDS = 30.0
_KILL_SECONDS = 5.0
_POLL_SECONDS = 0.05
# Processes of ours that are no workload, by what their command lines hold. The last is the engine's own: its
# language host notices only minutes later that the engine was killed.
_OURS = (
    "rehearsal.cloud",
    "rehearsal.cluster",
    "rehearsal.hub.server",
    "rehearsal.standins",
    "providers.modelops",
    "pulumi-resource-",
    "pulumi-language-",
)
_LOG = logging.getLogger(__name__)


def stop_all(folder: Path) -> None:
    """Stop the cloud process with what it runs, and whatever else a crash left behind."""
    base_url = running(folder)
    if base_url is not None:
        process = _cloud_process(folder)
        try:
            CloudClient(base_url, folder).shutdown()
        except CloudError as error:
            _LOG.warning("%s", error)
        if process is not None:
            _wait(process)
    _kill([process for process in _processes(folder) if not _is_hub(process)])
    if _uses_docker(folder):
        docker.remove_all(folder)


def living(folder: Path) -> list[str]:
    """The rehearsal's processes and containers that run, each as one line."""
    found = [f"process {process.pid}: {_command(process)}" for process in _processes(folder)]
    if _uses_docker(folder):
        found += [f"container {name}" for name in docker.containers(folder)]
    return found


def kill(process: psutil.Process) -> None:
    """End one process: SIGTERM, then SIGKILL."""
    try:
        process.terminate()
        process.wait(_KILL_SECONDS)
    except psutil.TimeoutExpired:
        process.kill()
    except psutil.NoSuchProcess:
        return


def _processes(folder: Path) -> list[psutil.Process]:
    """Found by their environment, so that what a crashed cloud process did not write down counts too.

    A shell that works in the rehearsal has the same variable, and so has what it starts: only our own
    programs and workloads are meant.
    """
    found = []
    for process in psutil.process_iter():
        try:
            environment = process.environ()
            if environment.get("LLMSTACK_REHEARSAL") != str(folder):
                continue
            ours = WORKLOAD_VARIABLE in environment or any(word in _command(process) for word in _OURS)
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def _is_hub(process: psutil.Process) -> bool:
    return "rehearsal.hub.server" in _command(process)


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(processes, _KILL_SECONDS)


def _cloud_process(folder: Path) -> psutil.Process | None:
    try:
        state = json.loads((folder / "cloud.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return same_process(state["pid"], state["started"])


def _wait(process: psutil.Process) -> None:
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline:
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(_POLL_SECONDS)


def _uses_docker(folder: Path) -> bool:
    """Whether there may be containers, so that a machine without Docker is not asked."""
    return (folder / "docker").exists() and shutil.which("docker") is not None
