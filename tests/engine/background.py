"""An `up` that runs beside the test, and the processes around it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable

import psutil

from rehearsal.runner.process import WORKLOAD_VARIABLE, running
from tests.engine.lab import Lab

DEADLINE_SECONDS = 120.0
_POLL_SECONDS = 0.05
_OF_THE_CLOUD = ("rehearsal.cloud", "rehearsal.cluster", "rehearsal/runner/init.py", "/.engine/kube/")
"""Parts of the command lines of what is no engine: the rehearsed cloud, what it starts, a cluster in it."""
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class BackgroundUp:
    """`pulumi up` in a process group of its own, as a shell starts it.

    Args:
        lab: the stack.
    """

    def __init__(self, lab: Lab) -> None:
        self._log = lab.root / f"up-{time.monotonic_ns()}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["pulumi", "up", "--yes", "--skip-preview", "--non-interactive"],
                cwd=lab.rehearsal.workdir,
                env={**os.environ, **lab.variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def output(self) -> str:
        """What it has printed."""
        return _COLOURS.sub("", self._log.read_text(encoding="utf-8"))

    def go_on_until(self, condition: Callable[[], object], what: str) -> None:
        """Return when the condition holds, while this runs."""

        def holds() -> object:
            assert self._process.poll() is None, self.output()
            return condition()

        until(holds, what)

    def wait(self) -> int:
        """Its exit code, when it has ended by itself."""
        return self._process.wait(DEADLINE_SECONDS)

    def press_ctrl_c(self) -> None:
        """SIGINT to the group, as a terminal sends it."""
        os.killpg(self._process.pid, signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL to the command alone."""
        self._process.kill()
        self._process.wait(DEADLINE_SECONDS)

    def kill_group(self) -> None:
        """SIGKILL to the group."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(DEADLINE_SECONDS)


def until(condition: Callable[[], object], what: str) -> None:
    """Return when the condition holds.

    Args:
        condition: asked again and again.
        what: what is waited for, for the message.
    """
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(_POLL_SECONDS)


def cloud_process(lab: Lab) -> psutil.Process:
    """The stack's cloud process."""
    found = json.loads((lab.rehearsal.folder / "cloud.json").read_text(encoding="utf-8"))
    return psutil.Process(found["pid"])


def engine_processes(lab: Lab) -> list[psutil.Process]:
    """The engine, its plugins and the stack's program, as far as they run.

    A language host does not count: it is the engine's own, and notices a killed engine only minutes later.
    """
    found = []
    for process in psutil.process_iter():
        try:
            environment, command = process.environ(), " ".join(process.cmdline())
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        ours = environment.get("LLMSTACK_REHEARSAL") == str(lab.rehearsal.folder)
        cloud = WORKLOAD_VARIABLE in environment or any(part in command for part in _OF_THE_CLOUD)
        host = "pulumi-language-python" in command and "-exec" not in command
        if ours and not cloud and not host and running(process):
            found.append(process)
    return found


def end_engines(lab: Lab) -> None:
    """End what a test that failed has left behind."""
    for process in engine_processes(lab):
        if process.name() == "pulumi":
            process.kill()


def executions(lab: Lab) -> dict[str, str]:
    """How each execution stands, by its full name: `running`, or the state in which it ended."""
    found = {}
    for record in lab.world().list("run.execution"):
        ended = "completionTime" in record.body
        found[record.name] = record.body["conditions"][0]["state"] if ended else "running"
    return found


def watches(lab: Lab, execution: str) -> int:
    """How often somebody asked how the execution stands."""
    asked = ("run.projects.locations.jobs.executions.get", execution)
    return sum((call.operation, call.target) == asked for call in lab.world().calls())


def the_line(output: str, part: str) -> str:
    """The one line that says `part`; the engine says it while it works and again at its end."""
    found = {line.strip().removeprefix("* ") for line in output.splitlines() if part in line}
    assert found, f"nothing says {part!r}:\n{output}"
    return max(found, key=len)
