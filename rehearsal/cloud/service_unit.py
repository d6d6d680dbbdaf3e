"""One Cloud Run service: its container, the roll to a new revision, restarts after a crash."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rehearsal.cloud.probe import Probe, wait_started
from rehearsal.cloud.workloads import KEPT_LOGS, Facts, Workload, Workloads, fingerprint, new_id
from rehearsal.runner import StartError
from rehearsal.world import NotFound, Record

GRACE_SECONDS = 10.0
"""Between SIGTERM and SIGKILL. https://cloud.google.com/run/docs/container-contract#instance-shutdown"""
_WATCH_SECONDS = 0.2
_FIRST_BACKOFF_SECONDS = 0.5
_LONGEST_BACKOFF_SECONDS = 30.0
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a roll ended."""

    ready: bool
    uri: str
    message: str


class ServiceUnit:
    """Keeps one service's container running.

    Args:
        workloads: starts containers.
        name: the service's full resource name.
        uri: its address, which the proxy answers at.
    """

    def __init__(self, workloads: Workloads, name: str, uri: str) -> None:
        self._workloads = workloads
        self._world = workloads.world
        self.name = name
        self.uri = uri
        self.serving: Workload | None = None
        self._lock = asyncio.Lock()
        self._backoff = _FIRST_BACKOFF_SECONDS
        self._starting: Workload | None = None
        self._repairing = False
        self._closed = False

    @property
    def busy(self) -> bool:
        """Whether a container runs or is about to."""
        return self.serving is not None or self._lock.locked()

    @property
    def port(self) -> int | None:
        """Where the serving container listens; None when there is none that runs."""
        alive = self.serving is not None and self.serving.poll() is None
        return self.serving.facts.port if alive and self.serving else None

    async def reconcile(self, timeout: float) -> Outcome:
        """Bring the container in line with the service's record; the old one serves until the new one can.

        Args:
            timeout: seconds to wait for the startup probe at most.
        """
        if self._repairing and self._starting is not None:
            # Who deploys a repaired version must not wait for one more try of the broken one.
            await asyncio.to_thread(self._starting.terminate, GRACE_SECONDS)
        async with self._lock:
            record = await asyncio.to_thread(self._world.get, self.name)
            if record is None or self._closed:
                return Outcome(False, self.uri, f"{self.name} was removed, or its cloud process is ending")
            template = record.body["template"]
            if self.port is not None and self._serves(template):
                outcome = Outcome(True, self.uri, "")
            else:
                outcome = await self._roll(self._revision(record), template, timeout)
            await self._write_status(outcome)
            living = frozenset({self.serving.facts.id}) if self.serving else frozenset()
            await asyncio.to_thread(self._workloads.forget, self.name, KEPT_LOGS, living)
            return outcome

    async def restore(self, known: list[Facts]) -> None:
        """Take over from an earlier cloud process: what served then serves again; the rest is stopped.

        Args:
            known: the service's workloads, oldest first.
        """
        async with self._lock:
            served = [facts for facts in known if facts.ready]
            for facts in known:
                workload = await asyncio.to_thread(self._workloads.adopt, facts)
                if workload is None or workload.poll() is not None:
                    continue
                if served and facts.id == served[-1].id:
                    self.serving = workload
                else:
                    await asyncio.to_thread(workload.terminate, GRACE_SECONDS)
            if served and self.serving is None:
                last = served[-1]
                outcome = await self._roll(last.revision, last.template, limit=float("inf"))
                if not outcome.ready:
                    _LOG.warning("%s: %s", self.name, outcome.message)

    async def stop(self) -> None:
        """Stop its containers; it starts none after that."""
        self._closed = True
        starting = self._starting
        if starting is not None:
            # A roll under way holds the lock; without its container it ends at once.
            await asyncio.to_thread(starting.terminate, GRACE_SECONDS)
        async with self._lock:
            if self.serving is not None:
                await asyncio.to_thread(self.serving.terminate, GRACE_SECONDS)
            self.serving = None

    async def watch(self) -> None:
        """Start the container again whenever it ends by itself, later each time; runs until cancelled."""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            if self.serving is None or self.serving.poll() is None:
                continue
            crashed = self.serving
            _LOG.warning("%s ended with exit code %s: %s", crashed.facts.id, crashed.poll(), crashed.said())
            if time.time() - crashed.facts.created > _LONGEST_BACKOFF_SECONDS:
                self._backoff = _FIRST_BACKOFF_SECONDS
            await asyncio.sleep(self._backoff)
            self._backoff = min(2 * self._backoff, _LONGEST_BACKOFF_SECONDS)
            async with self._lock:
                # A new revision may have taken over meanwhile.
                if self.serving is crashed:
                    self._repairing = True
                    await self._roll(crashed.facts.revision, crashed.facts.template, limit=float("inf"))
                    self._repairing = False

    def _revision(self, record: Record) -> str:
        """What the containers of the record as it is now are called."""
        short = self.name.rpartition("/")[2]
        return record.body.get("latestCreatedRevision") or f"{short}-{record.generation:05d}"

    def _environment(self, revision: str, port: int) -> dict[str, str]:
        """What the platform adds: https://cloud.google.com/run/docs/container-contract#services-env-vars."""
        service = self.name.rpartition("/")[2]
        return {
            "PORT": str(port),
            "K_SERVICE": service,
            "K_REVISION": revision,
            "K_CONFIGURATION": service,
        }

    def _serves(self, template: Mapping[str, Any]) -> bool:
        """Whether the serving container was made from this template."""
        return self.serving is not None and fingerprint(self.serving.facts.template) == fingerprint(template)

    async def _roll(self, revision: str, template: Mapping[str, Any], limit: float) -> Outcome:
        old = self.serving
        try:
            new, failure = await self._start(revision, template, limit)
        except StartError as error:
            return Outcome(False, self.uri, str(error))
        if failure is not None:
            said = new.said()
            await asyncio.to_thread(new.terminate, GRACE_SECONDS)
            log = f" Its log ends: {said} (all of it in {new.folder / 'log'})" if said else ""
            return Outcome(False, self.uri, f"{failure}{log}")
        await asyncio.to_thread(new.mark_ready)
        self.serving = new
        if old is not None:
            await asyncio.to_thread(old.terminate, GRACE_SECONDS)
        return Outcome(True, self.uri, "")

    async def _start(
        self, revision: str, template: Mapping[str, Any], limit: float
    ) -> tuple[Workload, str | None]:
        container = (template.get("containers") or [{}])[0]
        probe = Probe.of(container)
        port = free_port()
        facts = Facts(new_id(revision), self.name, "service", revision, template, port)
        env = self._environment(revision, port)
        start = asyncio.ensure_future(asyncio.to_thread(self._workloads.start, facts, env))
        try:
            self._starting = new = await asyncio.shield(start)
            return new, await wait_started(probe, port, new, limit)
        except asyncio.CancelledError:
            # A start in a thread cannot be called off; what it brings forth can be ended.
            with contextlib.suppress(StartError):
                await asyncio.to_thread((await start).terminate, GRACE_SECONDS)
            raise
        finally:
            self._starting = None

    async def _write_status(self, outcome: Outcome) -> None:
        revision = self.serving.facts.revision if self.serving else ""
        try:
            await asyncio.to_thread(
                self._world.edit,
                self.name,
                lambda body: _with_status(body, outcome, revision, self._world.now()),
            )
        except NotFound:
            _LOG.info("%s was deleted meanwhile", self.name)


def _with_status(body: dict[str, Any], outcome: Outcome, revision: str, now: str) -> dict[str, Any]:
    """The record with the output fields that Cloud Run fills in."""
    condition: dict[str, Any] = {
        "type": "Ready",
        "state": "CONDITION_SUCCEEDED" if outcome.ready else "CONDITION_FAILED",
        "lastTransitionTime": now,
    }
    if outcome.message:
        tried = body.get("latestCreatedRevision", "")
        condition["message"] = f"Revision '{tried}' is not ready and cannot serve traffic. {outcome.message}"
    status: dict[str, Any] = {
        "reconciling": False,
        "uri": outcome.uri,
        "urls": [outcome.uri],
        "terminalCondition": condition,
    }
    if revision:
        status["latestReadyRevision"] = revision
        latest = {"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "revision": revision, "percent": 100}
        status["trafficStatuses"] = [{**latest, "uri": outcome.uri}]
    return {**body, **status}


def free_port() -> int:
    """A loopback port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
