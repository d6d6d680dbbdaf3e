"""The containers of deployed models: one process for each, however many replicas it has.

A container that ends by itself is started again; one that is taken away first answers what it was asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from typing import Any

from rehearsal.cloud.aiplatform.deployed import DEPLOYED, DEPLOYING
from rehearsal.cloud.service_unit import Outcome, ServiceUnit
from rehearsal.cloud.workloads import Facts, Workloads
from rehearsal.runner.choose import starts_services
from rehearsal.world import Record

_DRAIN_SECONDS = 300.0
_POLL_SECONDS = 0.05


class DeployedUnit(ServiceUnit):
    """The container of one deployed model."""

    def __init__(self, workloads: Workloads, name: str) -> None:
        super().__init__(workloads, name, "")
        self._asked = 0
        self._leaving = False

    @contextlib.contextmanager
    def asked(self) -> Iterator[int | None]:
        """Its port for the time of one request, which it outlives; None when it takes none."""
        if self._leaving:
            yield None
            return
        self._asked += 1
        try:
            yield self.port
        finally:
            self._asked -= 1

    async def drain(self) -> None:
        """Take no more requests, and wait for the answers to those that are under way."""
        self._leaving = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                while self._asked:
                    await asyncio.sleep(_POLL_SECONDS)

    def _revision(self, record: Record) -> str:
        _, _, _, _, _, _, endpoint, _, id = record.name.split("/")
        return f"{endpoint}-{id}"

    def _environment(self, revision: str, port: int) -> dict[str, str]:  # noqa: ARG002
        return {"AIP_HTTP_PORT": str(port)}

    async def _write_status(self, outcome: Outcome) -> None:
        """Nothing: the operation that deploys says how it went."""


class DeployedModels:
    """The containers of all deployed models.

    Args:
        workloads: starts containers.
    """

    def __init__(self, workloads: Workloads) -> None:
        self._workloads = workloads
        self._world = workloads.world
        self._units: dict[str, DeployedUnit] = {}
        self._watchers: dict[str, asyncio.Task[None]] = {}

    @property
    def busy(self) -> bool:
        """Whether any runs."""
        return any(unit.busy for unit in self._units.values())

    def unit(self, name: str) -> DeployedUnit | None:
        """The unit of a deployed model, if it is to run."""
        return self._units.get(name)

    def names(self) -> set[str]:
        """The full names of those that are to run."""
        return set(self._units)

    async def start(self, name: str, limit: float) -> Outcome:
        """Start the container of a deployed model's record and wait until it is healthy.

        Args:
            name: the record's full name.
            limit: seconds to wait at most.
        """
        if not starts_services():
            return Outcome(True, "", "")
        outcome = await self._unit(name).reconcile(limit)
        if outcome.ready:
            return outcome
        # A deployment that failed leaves nothing, not even its folder; its log is kept for who asks why.
        return replace(outcome, message=await asyncio.to_thread(self._with_logs, name, outcome.message))

    async def remove(self, name: str) -> None:
        """Let a container answer what it was asked, stop it and forget it."""
        unit, watcher = self._units.get(name), self._watchers.pop(name, None)
        if watcher is not None:
            watcher.cancel()
        if unit is not None:
            await unit.drain()
            await unit.stop()
            self._units.pop(name, None)
        await asyncio.to_thread(self._workloads.forget, name)

    async def restore(self, known: list[Facts]) -> list[Coroutine[Any, Any, None]]:
        """Take over from an earlier cloud process; what was being deployed is begun anew by its operation.

        Args:
            known: every workload that is written down.

        Returns:
            What remains to be done, in the background.
        """
        records = await asyncio.to_thread(self._world.list, DEPLOYED)
        restoring = []
        for record in records if starts_services() else ():
            mine = [facts for facts in known if facts.owner == record.name]
            if record.body["stage"] == DEPLOYING:
                # Nobody was sent to it yet: its operation starts another one.
                mine = [replace(facts, ready=False) for facts in mine]
            restoring.append(self._unit(record.name).restore(mine))
        return restoring

    async def stop(self) -> None:
        """Stop every container; the next cloud process starts them again."""
        for watcher in self._watchers.values():
            watcher.cancel()
        await asyncio.gather(*(unit.stop() for unit in self._units.values()))

    def describe(self) -> list[dict[str, Any]]:
        """What runs, for `status`."""
        return [{"name": name, "ready": unit.port is not None} for name, unit in self._units.items()]

    def _with_logs(self, name: str, message: str) -> str:
        """Copies the logs of a deployed model's containers; the message names the copies."""
        kept = self._world.folder / "logs"
        kept.mkdir(exist_ok=True)
        for facts in self._workloads.all():
            log = self._world.folder / "workloads" / facts.id / "log"
            if facts.owner == name and log.is_file():
                copy = shutil.copy(log, kept / f"{facts.id}.log")
                message = message.replace(str(log), str(copy))
        return message

    def _unit(self, name: str) -> DeployedUnit:
        if name not in self._units:
            unit = self._units[name] = DeployedUnit(self._workloads, name)
            self._watchers[name] = asyncio.create_task(unit.watch())
        return self._units[name]
