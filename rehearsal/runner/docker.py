"""Runs a container with a Docker engine: the image is built from the snapshot of its build context.

The container shares the host's network, since the cloud process and other containers are on loopback.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from rehearsal.runner.types import StartError, WorkloadSpec

LABEL = "llmstack.rehearsal"
BUILD_TIMEOUT_SECONDS = 1800
_PROBE_TIMEOUT_SECONDS = 10
_TIMED_OUT = 124


def reachable() -> bool:
    """Whether a Docker engine answers."""
    if shutil.which("docker") is None:
        return False
    done = _docker("info", "--format", "{{.ServerVersion}}", timeout=_PROBE_TIMEOUT_SECONDS)
    return done.returncode == 0


def remove_all(world: Path) -> list[str]:
    """Stop and remove every container of a rehearsal; returns their names."""
    names = containers(world)
    if names:
        _docker("rm", "--force", *names)
    return names


def containers(world: Path) -> list[str]:
    """The names of the containers of a rehearsal, running or not."""
    found = _docker("ps", "--all", "--filter", f"label={LABEL}={world}", "--format", "{{.Names}}")
    return found.stdout.split() if found.returncode == 0 else []


class DockerRunner:
    """Starts containers with the `docker` command line."""

    name = "docker"

    def __init__(self) -> None:
        self._building = threading.Lock()

    def start(self, spec: WorkloadSpec) -> DockerHandle:
        """See `Runner.start`."""
        tag = self.build(spec)
        container = f"llmstack-{spec.id}"
        environment = spec.folder / "env"
        # Tells whoever cleans up that there may be containers.
        (spec.world / "docker").touch()
        command = run_command(spec, tag, container, environment)
        _write_environment(environment, spec)
        try:
            done = _docker(*command)
        finally:
            # The payloads of secrets are in it; the engine has read it by now.
            environment.unlink(missing_ok=True)
        if done.returncode != 0:
            # What could be made but not started is still there.
            _docker("rm", "--force", container)
            raise StartError(f"docker run {tag}: {_last_line(done.stderr)}")
        return DockerHandle(container, spec.log)

    def build(self, spec: WorkloadSpec) -> str:
        """Build the image unless the engine has it; returns its tag.

        Raises:
            StartError: the build failed; its output is in the workload's log.
        """
        image = spec.image
        tag = f"llmstack/{image.name}:{image.digest.removeprefix('sha256:')[:12]}"
        with self._building:
            if _docker("image", "inspect", tag).returncode == 0:
                return tag
            arguments = [
                part for pair in image.build_args.items() for part in ("--build-arg", "=".join(pair))
            ]
            # Without --force-rm a step that fails leaves its container behind.
            command = ["build", "--network", "host", "--force-rm", *arguments, "--tag", tag]
            done = _docker(*command, str(image.snapshot), timeout=BUILD_TIMEOUT_SECONDS)
        with spec.log.open("a", encoding="utf-8") as log:
            log.write(done.stdout + done.stderr)
        if done.returncode != 0:
            said = _last_line(done.stderr)
            raise StartError(f"docker build {image.context}: {said} (its output is in {spec.log})")
        return tag

    def adopt(self, folder: Path, state: Mapping[str, str]) -> DockerHandle | None:
        """See `Runner.adopt`."""
        container = state["container"]
        if _docker("container", "inspect", container).returncode != 0:
            return None
        return DockerHandle(container, folder / "log")


class DockerHandle:
    """A container by its name."""

    def __init__(self, container: str, log: Path) -> None:
        self._container = container
        self._log = log
        self._exit_code: int | None = None
        follow = ["docker", "logs", "--follow", container]
        with log.open("ab") as file:
            self._logs = subprocess.Popen(
                follow, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
            )

    def poll(self) -> int | None:
        """See `Handle.poll`: the end of the log tells the end of the container, without asking each time."""
        if self._exit_code is not None:
            return self._exit_code
        if self._logs.poll() is None:
            return None
        found = _docker(
            "container", "inspect", "--format", "{{.State.Running}} {{.State.ExitCode}}", self._container
        )
        if found.returncode != 0:
            self._exit_code = 137
        elif found.stdout.startswith("false"):
            self._exit_code = int(found.stdout.split()[1])
        return self._exit_code

    def terminate(self, grace: float) -> None:
        """See `Handle.terminate`."""
        _docker("stop", "-t", str(int(grace)), self._container, timeout=grace + 30)
        self.poll()
        _docker("rm", "--force", self._container)
        self._logs.wait()

    def execute(self, command: Sequence[str], timeout: float) -> str | None:
        """See `Handle.execute`."""
        done = _docker("exec", "--workdir", "/", self._container, *command, timeout=timeout)
        return _last_line(done.stderr or done.stdout) if done.returncode else None

    def state(self) -> Mapping[str, str]:
        """See `Handle.state`."""
        return {"container": self._container}


def run_command(spec: WorkloadSpec, tag: str, container: str, environment: Path) -> list[str]:
    """The arguments of `docker` that start a workload; no value of its environment is among them."""
    command = ["run", "--detach", "--name", container, "--network", "host"]
    command += ["--label", f"{LABEL}={spec.world}", "--env-file", str(environment)]
    if os.getuid() != 0:
        # Objects belong to whoever runs the rehearsal; the image's own user may not be able to read them.
        command += ["--user", f"{os.getuid()}:{os.getgid()}"]
    if spec.cpu:
        command += ["--cpus", str(cores(spec.cpu))]
    if spec.memory:
        command += ["--memory", str(quantity(spec.memory))]
    for mount in spec.mounts:
        command += ["--volume", f"{mount.source}:{mount.target}:{'ro' if mount.read_only else 'rw'}"]
    if spec.command:
        command += ["--entrypoint", spec.command[0]]
    return [*command, tag, *spec.command[1:], *spec.args]


def quantity(text: str) -> int:
    """Bytes of a Kubernetes quantity such as `512Mi` or `4G`."""
    for suffix, power in (("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40)):
        if text.endswith(suffix):
            return int(float(text.removesuffix(suffix)) * 2**power)
    for suffix, exponent in (("k", 3), ("M", 6), ("G", 9), ("T", 12)):
        if text.endswith(suffix):
            return int(float(text.removesuffix(suffix)) * 10**exponent)
    return int(text)


def cores(text: str) -> float:
    """CPUs of a Kubernetes quantity such as `2` or `500m`, at most what the machine has."""
    wanted = float(text.removesuffix("m")) / 1000 if text.endswith("m") else float(text)
    return min(wanted, float(os.cpu_count() or 1))


def _write_environment(path: Path, spec: WorkloadSpec) -> None:
    bad = [name for name, value in spec.env.items() if "\n" in value]
    if bad:
        raise StartError(f"environment variable {bad[0]}: Docker cannot pass a value with a line break")
    values = {**spec.env, "HOST": "127.0.0.1"}
    path.touch(mode=0o600)
    path.write_text("".join(f"{name}={value}\n" for name, value in values.items()), encoding="utf-8")


def _docker(*arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run `docker` to its end, whatever its status; one that takes too long counts as failed."""
    command = ["docker", *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, _TIMED_OUT, "", f"no end within {timeout:g} s")


def _last_line(text: str) -> str:
    """The last line that says something: `docker run` ends its errors with a pointer to its help."""
    said = [line for line in text.splitlines() if line.strip() and "docker run --help" not in line]
    return said[-1].strip() if said else "no message"
