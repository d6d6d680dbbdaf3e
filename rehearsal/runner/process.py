"""Runs a container as a plain process in its own session.

Limits, beside what `docs/rehearsal.md` says of rehearsals in general: the file system is the machine's, a
mount's path is replaced by the bucket's folder in arguments and environment values only, and memory and CPU
limits are not enforced (an address-space limit counts what torch merely maps).
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil

from rehearsal.runner import dockerfile, init
from rehearsal.runner.types import Image, Mount, StartError, WorkloadSpec

WORKLOAD_VARIABLE = "LLMSTACK_WORKLOAD"
"""Marks every process of a workload, so that none is ever overlooked."""
ENGINE_ARGUMENT = "ENGINE"
"""Build argument that names the library which an image runs a model with."""
_POLL_SECONDS = 0.05
_LOOPBACK_PORTS = 4
"""What the TorchServe image has on its loopback interface (images/torchserve). That is a container's own, and
plain processes share the machine's."""
# The machine's way to the network, which a container shares whatever its environment.
_NETWORK = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
# What the base image would set.
_BASE = {"LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}


class ProcessRunner:
    """Starts the image's command with the Python environment of the image's folder."""

    name = "process"

    def start(self, spec: WorkloadSpec) -> ProcessHandle:
        """See `Runner.start`."""
        start = dockerfile.read(spec.image.snapshot / "Dockerfile")
        entrypoint = spec.command or start.entrypoint
        arguments = spec.args or (() if spec.command else start.command)
        argv = [_mapped(part, spec.mounts) for part in (*entrypoint, *arguments)]
        python = spec.image.context / ".venv" / "bin" / "python"
        if not python.exists():
            raise StartError(f"{python} is missing: run `make images` to install what the image runs with")
        _require_engine(spec.image, python)
        argv[0] = _executable(argv[0], python)
        env = {
            **start.env,
            **{name: _mapped(value, spec.mounts) for name, value in spec.env.items()},
            "PATH": f"{python.parent}:/usr/local/bin:/usr/bin:/bin",
            "PYTHONPATH": str(spec.image.snapshot / "src"),
            "HOST": "127.0.0.1",
            "LOOPBACK_PORT": str(_free_ports(_LOOPBACK_PORTS)),
        }
        return launch(spec, argv, env, spec.image.snapshot)

    def adopt(self, folder: Path, state: Mapping[str, str]) -> ProcessHandle | None:
        """See `Runner.adopt`: the process if it still is the one that was started, or its exit code."""
        process = same_process(int(state["pid"]), float(state["started"]))
        if process is None and not (folder / "exit").exists():
            return None
        return ProcessHandle(process, folder / "exit", None)


def launch(spec: WorkloadSpec, argv: Sequence[str], env: Mapping[str, str], folder: Path) -> ProcessHandle:
    """Start a command as a workload, in a session of its own.

    Args:
        spec: the workload; its folder receives log, exit code and temporary files.
        argv: the command.
        env: its variables, on top of what every workload has.
        folder: where it starts.
    """
    exit_file = spec.folder / "exit"
    exit_file.unlink(missing_ok=True)
    scratch = spec.folder / "tmp"
    scratch.mkdir(exist_ok=True)
    variables = {
        **_BASE,
        **_network(),
        **env,
        # Google's libraries look for a person's own credentials below the home folder.
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "LLMSTACK_REHEARSAL": str(spec.world),
        WORKLOAD_VARIABLE: spec.id,
    }
    with spec.log.open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", init.__file__, str(exit_file), *argv],
            cwd=folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    return ProcessHandle(psutil.Process(child.pid), exit_file, child)


class ProcessHandle:
    """A session whose leader is the init process.

    Args:
        process: the leader; None when it had ended before it was adopted.
        exit_file: where it leaves the exit code.
        child: the same as our own child, which has to be waited for.
    """

    def __init__(
        self, process: psutil.Process | None, exit_file: Path, child: subprocess.Popen[bytes] | None
    ) -> None:
        self._process = process
        self._exit_file = exit_file
        self._child = child

    def poll(self) -> int | None:
        """See `Handle.poll`."""
        if self._alive():
            return None
        try:
            return int(self._exit_file.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return 128 + signal.SIGKILL

    def terminate(self, grace: float) -> None:
        """See `Handle.terminate`."""
        if self._process is not None and self._alive():
            self._process.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + grace
            while self._alive() and time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS)
        self._kill_session()

    def execute(self, command: Sequence[str], timeout: float) -> str | None:
        """See `Handle.execute`: with the environment of the leader, from the root as in a container."""
        try:
            if self._process is None or not self._alive():
                return "the container has ended"
            done = subprocess.run(
                list(command),
                cwd="/",
                env=self._process.environ(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"no end within {timeout:g} s"
        except (OSError, psutil.Error) as error:
            return str(error)
        said = done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}"
        return said.splitlines()[-1] if done.returncode else None

    def state(self) -> Mapping[str, str]:
        """See `Handle.state`."""
        if self._process is None:
            return {"pid": "0", "started": "0"}
        return {"pid": str(self._process.pid), "started": repr(self._process.create_time())}

    def _alive(self) -> bool:
        if self._child is not None:
            return self._child.poll() is None
        return self._process is not None and running(self._process)

    def _kill_session(self) -> None:
        if self._process is None:
            return
        # The group outlives its leader as long as it has members, and its number is not given out again.
        left = [p for p in psutil.process_iter() if _group(p.pid) == self._process.pid]
        for process in left:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        if self._child is not None:
            self._child.wait()
        psutil.wait_procs(left, timeout=5)


def same_process(pid: int, started: float) -> psutil.Process | None:
    """The running process of that id, if it is the one that started at that time."""
    try:
        process = psutil.Process(pid)
        same = pid > 0 and abs(process.create_time() - started) < 1.0 and running(process)
    except psutil.NoSuchProcess:
        return None
    return process if same else None


def running(process: psutil.Process) -> bool:
    """Whether it runs; a zombie does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return -1


def _free_ports(count: int) -> int:
    """The first of some ports in a row that nobody listens on.

    They are looked for below those that the system gives to outgoing connections (ip(7),
    ip_local_port_range), at random: another process may be about to take what was just found free.
    """
    while True:
        first = random.randrange(20000, 32000, count)  # noqa: S311 - spreads
        with ExitStack() as stack, suppress(OSError):
            for port in range(first, first + count):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first


def _executable(word: str, python: Path) -> str:
    """The program of the image's own environment that a name or a path inside the image stands for."""
    name = Path(word).name
    if name in ("python", "python3"):
        return str(python)
    script = python.parent / name
    return str(script) if script.exists() else word


def _require_engine(image: Image, python: Path) -> None:
    """The environment beside the sources must have what the image would be built with."""
    engine = image.build_args.get(ENGINE_ARGUMENT)
    if engine is not None and not any(python.parents[1].glob(f"lib/python*/site-packages/{engine}")):
        raise StartError(
            f"{image.name} with engine {engine}: {python.parents[1]} does not have {engine}, so only a "
            "Docker engine can run this image; to rehearse without one, deploy with another engine, or set "
            "LLMSTACK_RUNNER=none, which starts no service"
        )


def _mapped(text: str, mounts: tuple[Mount, ...]) -> str:
    for mount in mounts:
        if text == mount.target or text.startswith(f"{mount.target}/"):
            return str(mount.source) + text[len(mount.target) :]
    return text


def _network() -> dict[str, str]:
    found = {name: os.environ[name] for name in _NETWORK if name in os.environ}
    if any("proxy" in name.lower() for name in found):
        past = ",".join(filter(None, [os.environ.get("NO_PROXY", ""), "127.0.0.1", "localhost"]))
        found |= {"NO_PROXY": past, "no_proxy": past}
    return found
