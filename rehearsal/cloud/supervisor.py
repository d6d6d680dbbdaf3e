"""Everything that runs in a rehearsal: services, executions, and what an earlier cloud process left."""

from __future__ import annotations

import asyncio
import logging
import shutil
from typing import Any

from rehearsal.cloud.aiplatform.deployed import DEPLOYED
from rehearsal.cloud.aiplatform.operations import Operations
from rehearsal.cloud.aiplatform.pipeline_runs import KIND as PIPELINE_JOB
from rehearsal.cloud.aiplatform.pipeline_runs import PipelineRuns
from rehearsal.cloud.aiplatform.serving import DeployedModels
from rehearsal.cloud.custom_jobs import KIND as CUSTOM_JOB
from rehearsal.cloud.custom_jobs import CustomJobs
from rehearsal.cloud.executions import Executions
from rehearsal.cloud.proxy import Proxy
from rehearsal.cloud.service_unit import GRACE_SECONDS, Outcome, ServiceUnit
from rehearsal.cloud.tokens import Tokens
from rehearsal.cloud.workloads import Facts, Workloads
from rehearsal.world import World

_SWEEP_SECONDS = 2.0
_LOG = logging.getLogger(__name__)


class Supervisor:
    """Keeps what should run running.

    Args:
        world: the rehearsal's world.
        workloads: starts containers.
        tokens: tells the proxies who calls.
    """

    def __init__(self, world: World, workloads: Workloads, tokens: Tokens) -> None:
        self._world = world
        self._workloads = workloads
        self._tokens = tokens
        self._units: dict[str, ServiceUnit] = {}
        self._proxies: dict[str, Proxy] = {}
        self._watchers: dict[str, asyncio.Task[None]] = {}
        self._adding = asyncio.Lock()
        self._background: set[asyncio.Task[Any]] = set()
        self.executions = Executions(workloads)
        self.custom_jobs = CustomJobs(workloads)
        self.pipelines = PipelineRuns(workloads)
        self.deployed = DeployedModels(workloads)
        self.operations = Operations(world)

    @property
    def busy(self) -> bool:
        """Whether anything runs."""
        jobs = any(each.busy for each in self._jobs)
        serving = self.deployed.busy or any(unit.busy for unit in self._units.values())
        return jobs or serving or self.operations.busy

    @property
    def _jobs(self) -> tuple[Executions, CustomJobs, PipelineRuns]:
        return self.executions, self.custom_jobs, self.pipelines

    async def start(self) -> None:
        """Take over what an earlier cloud process left, then watch; returns at once."""
        known = await asyncio.to_thread(self._workloads.all)
        services = {record.name for record in await asyncio.to_thread(self._world.list, "run.service")}
        jobs = {
            record.name
            for kind in ("run.execution", CUSTOM_JOB, PIPELINE_JOB, DEPLOYED)
            for record in await asyncio.to_thread(self._world.list, kind)
        }
        for each in self._jobs:
            each.restore(known)
        for restoring in await self.deployed.restore(known):
            self.spawn(restoring)
        self.operations.restore()
        for name in services:
            unit = await self._unit(name)
            self.spawn(unit.restore([facts for facts in known if facts.owner == name]))
        pods = {record.name for record in await asyncio.to_thread(self._world.list, "kubernetes.pod")}
        for facts in known:
            if facts.owner not in services | jobs | pods:
                self.spawn(self._discard(facts))
        self.spawn(self._sweep())

    async def stop(self) -> None:
        """Stop every container and every proxy."""
        for task in [*self._watchers.values(), *self._background]:
            task.cancel()
        # Operations first: what they had begun would else be called failed.
        await self.operations.stop()
        await asyncio.gather(
            *(each.stop() for each in self._jobs),
            self.deployed.stop(),
            *(unit.stop() for unit in self._units.values()),
            *(proxy.close() for proxy in self._proxies.values()),
        )
        # Whatever a failure above left running.
        await asyncio.gather(*(self._end(facts) for facts in self._workloads.all()))

    def spawn(self, work: Any) -> None:
        """Run a coroutine in the background; a failure is logged."""
        task: asyncio.Task[Any] = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._done)

    async def reconcile(self, name: str, timeout: float) -> Outcome:
        """Bring one service in line with its record."""
        unit = await self._unit(name)
        return await unit.reconcile(timeout)

    async def remove(self, name: str) -> None:
        """Stop a service and forget its containers."""
        unit = self._units.pop(name, None)
        watcher = self._watchers.pop(name, None)
        proxy = self._proxies.pop(name, None)
        if watcher is not None:
            watcher.cancel()
        if unit is not None:
            await unit.stop()
        if proxy is not None:
            await proxy.close()
        await asyncio.to_thread(self._workloads.forget, name)

    async def cancel_job(self, job: str) -> int:
        """Stop every execution of a job; returns how many there were."""
        prefix = f"{job}/executions/"
        records = await asyncio.to_thread(self._world.list, "run.execution", prefix)
        stopped = await asyncio.gather(*(self.executions.cancel(record.name) for record in records))
        return sum(stopped)

    def describe(self) -> list[dict[str, Any]]:
        """What runs, for `status`."""
        return [
            {
                "name": unit.name,
                "uri": unit.uri,
                "revision": unit.serving.facts.revision if unit.serving else None,
                "ready": unit.port is not None,
            }
            for unit in self._units.values()
        ]

    async def _unit(self, name: str) -> ServiceUnit:
        async with self._adding:
            if name not in self._units:
                proxy = Proxy(self._world, self._tokens, name)
                uri = await proxy.open()
                unit = ServiceUnit(self._workloads, name, uri)
                proxy.unit = unit
                self._units[name], self._proxies[name] = unit, proxy
                self._watchers[name] = asyncio.create_task(unit.watch())
            return self._units[name]

    async def _sweep(self) -> None:
        """Stop what somebody removed from the world without telling."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            # Before the world is read: what comes after that is not in it yet.
            services = set(self._units)
            runs = {kind: set(kind.running()) for kind in self._jobs}
            models = self.deployed.names()
            known = await asyncio.to_thread(self._workloads.all)
            present = {record.name for record in await asyncio.to_thread(self._world.list)}
            for name in services - present:
                await self.remove(name)
            for name in models - present:
                await self.deployed.remove(name)
            for kind, running in runs.items():
                for name in running - present:
                    await kind.cancel(name)
            for owner in {facts.owner for facts in known} - present:
                await asyncio.to_thread(self._workloads.forget, owner)

    async def _discard(self, facts: Facts) -> None:
        await self._end(facts)
        await asyncio.to_thread(shutil.rmtree, self._world.folder / "workloads" / facts.id, True)

    async def _end(self, facts: Facts) -> None:
        workload = await asyncio.to_thread(self._workloads.adopt, facts)
        if workload is not None and workload.poll() is None:
            await asyncio.to_thread(workload.terminate, GRACE_SECONDS)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._background.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _LOG.error("in the background: %s", task.exception(), exc_info=task.exception())
