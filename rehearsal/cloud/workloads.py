"""Workloads of a rehearsal: what runs, what ran, and where its log is.

Each has a folder `workloads/<id>/` with its log and `workload.json`, written before and after the start, so
that a cloud process that comes after a crash finds what the last one left running.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rehearsal.cloud.tokens import write_private
from rehearsal.runner import Handle, Runner
from rehearsal.runner.spec import Platform, build_spec
from rehearsal.runner.types import tail
from rehearsal.world import World

STATE_FILE = "workload.json"
KEPT_LOGS = 5
"""Ended workloads whose folders are kept for each service or job, newest first."""
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Facts:
    """What is written down about a workload."""

    id: str
    owner: str
    """Full name of the service or execution that it runs for."""
    kind: str
    """`service` or `task`."""
    revision: str
    template: Mapping[str, Any]
    """Holds references to secrets, never their payloads."""
    port: int = 0
    task: int = 0
    attempt: int = 0
    ready: bool = False
    created: float = field(default_factory=time.time)
    """Seconds since 1970."""
    handle: Mapping[str, str] = field(default_factory=dict)

    @property
    def account(self) -> str:
        """E-mail address of the service account that it runs as."""
        return str(self.template.get("serviceAccount") or "")


class Workload:
    """One started container."""

    def __init__(self, folder: Path, facts: Facts, handle: Handle) -> None:
        self.folder = folder
        self.facts = facts
        self._handle = handle

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._handle.poll()

    def terminate(self, grace: float) -> None:
        """SIGTERM, after `grace` seconds SIGKILL; blocks until it has gone."""
        self._handle.terminate(grace)

    def execute(self, command: Sequence[str], timeout: float) -> str | None:
        """Run a command in it; None when that succeeds within `timeout` seconds, else what it said."""
        return self._handle.execute(command, timeout)

    def said(self) -> str:
        """The last lines of its log, in one line."""
        return " | ".join(tail(self.folder / "log"))

    def mark_ready(self) -> None:
        """Write down that its startup probe passed."""
        self.facts = Facts(**{**asdict(self.facts), "ready": True})
        _write(self.folder, self.facts)


class Workloads:
    """Starts workloads and remembers them.

    Args:
        world: the rehearsal's world.
        runner: how containers run.
        address: `127.0.0.1:PORT` of the cloud process.
    """

    def __init__(self, world: World, runner: Runner, address: str) -> None:
        self.world = world
        self._root = world.folder / "workloads"
        self._runner = runner
        self._address = address
        self._accounts: dict[str, str] = {}

    def start(self, facts: Facts, env: Mapping[str, str]) -> Workload:
        """Start a container; blocks while an image is built.

        Args:
            facts: what it is; `handle` is filled in here.
            env: what the platform adds to its environment.

        Raises:
            StartError: why not, in one line.
        """
        folder = self._root / facts.id
        folder.mkdir(parents=True)
        self._accounts[facts.id] = facts.account
        _write(folder, facts)
        project = facts.owner.split("/")[2]
        spec = build_spec(self.world, facts.id, facts.template, Platform(project, env, self._address))
        handle = self._runner.start(spec)
        started = Facts(**{**asdict(facts), "handle": dict(handle.state())})
        _write(folder, started)
        return Workload(folder, started, handle)

    def account(self, workload: str) -> str | None:
        """The service account of a workload, which its metadata server answers for."""
        if workload not in self._accounts:
            found = {facts.id: facts.account for facts in self.all()}
            self._accounts.update(found)
        return self._accounts.get(workload)

    def all(self) -> list[Facts]:
        """Every workload that has a folder, oldest first."""
        return sorted(read_all(self._root.parent), key=lambda facts: facts.created)

    def adopt(self, facts: Facts) -> Workload | None:
        """A workload of an earlier cloud process, running or ended; None when nothing is known of its end."""
        if not facts.handle:
            return None
        handle = self._runner.adopt(self._root / facts.id, facts.handle)
        return None if handle is None else Workload(self._root / facts.id, facts, handle)

    def forget(self, owner: str, keep: int = 0, living: frozenset[str] = frozenset()) -> None:
        """Remove the folders of an owner's workloads, except the newest `keep` and the `living`."""
        mine = [f for f in self.all() if f.owner == owner and f.id not in living]
        for facts in mine[: max(0, len(mine) - keep)]:
            self._accounts.pop(facts.id, None)
            shutil.rmtree(self._root / facts.id, ignore_errors=True)


def new_id(label: str) -> str:
    """An id nobody can guess: it is what separates one workload's credentials from another's."""
    return f"{label}-{secrets.token_hex(6)}"


def fingerprint(template: Mapping[str, Any]) -> str:
    """Equal for templates that make the same container."""
    return hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()


def read_all(folder: Path) -> list[Facts]:
    """The workloads written down in a rehearsal's folder."""
    found = []
    for path in (folder / "workloads").glob(f"*/{STATE_FILE}"):
        try:
            found.append(Facts(**json.loads(path.read_text(encoding="utf-8"))))
        except (FileNotFoundError, ValueError, TypeError) as error:
            _LOG.warning("%s cannot be read: %s", path, error)
    return found


def _write(folder: Path, facts: Facts) -> None:
    write_private(folder / STATE_FILE, json.dumps(asdict(facts)))
