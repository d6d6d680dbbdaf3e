"""A Docker engine as the tests use it: images built as by a person, containers that end with their test."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
# `make clean` finds by this label what a killed test run has left.
LABEL = f"llmstack.checkout={ROOT}"
# Images that are not built from the folder of their name, and what `docker build` takes beside the base.
FOLDERS = {"serve-ctranslate2": "serve"}
OPTIONS = {"serve-ctranslate2": ("--build-arg=ENGINE=ctranslate2",)}
# What a platform takes away from a container costs nothing if the image never needed it.
CONFINED = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")


def docker(*arguments: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
    """Runs a docker command to its end, whatever its status."""
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=seconds)


def answers() -> bool:
    """Whether a Docker engine answers."""
    return shutil.which("docker") is not None and docker("info").returncode == 0


def docker_ok(*arguments: str, seconds: float = 120) -> str:
    """Runs a docker command that has to succeed; gives its standard output."""
    done = docker(*arguments, seconds=seconds)
    assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr}"
    return done.stdout.strip()


def folder(name: str) -> str:
    """The folder below images that an image is built from."""
    return FOLDERS.get(name, name)


def build_arguments(name: str, base: str) -> list[str]:
    """What `docker build` takes to make an image on a base image."""
    return ["--network=host", f"--build-arg=BASE={base}", *OPTIONS.get(name, ())]


def build(name: str, base: str) -> str:
    """Builds an image on a base image and gives its tag; tells each step, as one may take minutes."""
    tag = f"llmstack/{name}:docker-tier"
    command = ["docker", "build", "--force-rm", *build_arguments(name, base), "--tag", tag, "."]
    earlier = docker("images", "--quiet", "--no-trunc", tag).stdout.strip()
    started, said = time.monotonic(), list[str]()
    with subprocess.Popen(
        command,
        cwd=ROOT / "images" / folder(name),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if line.startswith("Step "):
                print(f"{time.monotonic() - started:5.0f} s  {name}: {line.strip()[:100]}", flush=True)
    assert process.returncode == 0, f"{name} cannot be built:\n{''.join(said[-30:])}"
    if earlier not in ("", docker_ok("images", "--quiet", "--no-trunc", tag)):
        # Without its tag it would stay for ever, at 6 GB for each change of the dependencies.
        docker("rmi", earlier)
    print(f"{time.monotonic() - started:5.0f} s  {name}: built", flush=True)
    return tag


def layers(tag: str) -> list[str]:
    """The digests of an image's layers, the base image's first."""
    found: list[str] = json.loads(docker_ok("image", "inspect", "--format", "{{json .RootFS.Layers}}", tag))
    return found


@dataclass
class Container:
    """A container on the host's network that was started and may still run."""

    identity: str

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(docker_ok("inspect", "--format", "{{json .State}}", self.identity))
        return state

    def execute(self, *command: str) -> str:
        return docker_ok("exec", self.identity, *command)

    def logs(self) -> str:
        done = docker("logs", self.identity)
        return done.stdout + done.stderr

    def stop(self, grace: int = 10) -> int:
        """Stops it as a platform does, SIGTERM and after the grace SIGKILL; gives the exit status."""
        docker_ok("stop", "-t", str(grace), self.identity)
        return self.wait()

    def wait(self) -> int:
        return int(docker_ok("wait", self.identity))


@dataclass
class Containers:
    """Starts containers, and removes every one of them at the end."""

    started: list[Container] = field(default_factory=list)

    def start(
        self,
        image: str,
        *arguments: str,
        environment: dict[str, str] | None = None,
        options: tuple[str, ...] = (),
    ) -> Container:
        """Starts an image's own entry point, confined, on the host's network."""
        command = ["run", "--detach", "--label", LABEL, "--network", "host", *CONFINED, *options]
        for key, value in (environment or {}).items():
            command += ["--env", f"{key}={value}"]
        identity = docker_ok(*command, image, *arguments)
        self.started.append(Container(identity))
        return self.started[-1]

    def shell(self, image: str, script: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Runs a shell script in an image in place of its entry point."""
        command = ("--rm", "--label", LABEL, "--network", "none", *options, "--entrypoint", "sh")
        return docker("run", *command, image, "-c", script)

    def remove_all(self) -> None:
        for container in self.started:
            docker("rm", "--force", container.identity)
