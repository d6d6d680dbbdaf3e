"""Chooses how containers run: with Docker where that works, else as plain processes."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

from rehearsal.runner import docker
from rehearsal.runner.process import ProcessRunner
from rehearsal.runner.stub import StubRunner
from rehearsal.runner.types import Handle, Runner, StartError, WorkloadSpec

VARIABLE = "LLMSTACK_RUNNER"
CHOICES = ("auto", "docker", "process", "stub", "none")
_LOG = logging.getLogger(__name__)


def starts_services() -> bool:
    """Whether services' containers run at all; without them a service only gets an address."""
    return os.environ.get(VARIABLE) not in ("none", "stub")


def choose_runner() -> Runner:
    """The runner that `LLMSTACK_RUNNER` asks for: `docker`, `process`, or `auto` (the default).

    With `none` the stand-ins start no service; jobs still run, as with `auto`. With `stub` they start no
    service either, and a staging job writes a stub in place of the model.

    Raises:
        StartError: the variable has another value.
    """
    wanted = os.environ.get(VARIABLE, "auto")
    if wanted not in CHOICES:
        raise StartError(f"{VARIABLE}={wanted}: use one of {', '.join(CHOICES)}")
    if wanted == "docker":
        return docker.DockerRunner()
    if wanted == "stub":
        return StubRunner()
    if wanted == "process" or not docker.reachable():
        return ProcessRunner()
    return AutoRunner()


class AutoRunner:
    """Docker, and a plain process for an image that cannot be built here (no registry for its base image)."""

    name = "auto"

    def __init__(self) -> None:
        self._docker = docker.DockerRunner()
        self._process = ProcessRunner()

    def start(self, spec: WorkloadSpec) -> Handle:
        """See `Runner.start`."""
        try:
            self._docker.build(spec)
        except StartError as error:
            _LOG.warning("%s runs as a process: %s", spec.image.name, error)
            return self._process.start(spec)
        return self._docker.start(spec)

    def adopt(self, folder: Path, state: Mapping[str, str]) -> Handle | None:
        """See `Runner.adopt`."""
        runner: Runner = self._docker if "container" in state else self._process
        return runner.adopt(folder, state)
