"""Runs executions of Cloud Run jobs: tasks, attempts, time limits, cancellation."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from rehearsal.cloud.execution_state import (
    DEFAULT_RETRIES,
    DEFAULT_TIMEOUT_SECONDS,
    TaskEnd,
    ended,
    is_running,
    reference,
    seconds,
)
from rehearsal.cloud.running_jobs import RunningJobs
from rehearsal.cloud.workloads import KEPT_LOGS, Facts, Workload, new_id
from rehearsal.runner import StartError
from rehearsal.world import NotFound

_LOG = logging.getLogger(__name__)


class Executions(RunningJobs):
    """The executions that run now."""

    def restore(self, known: list[Facts]) -> None:
        """Go on with the executions that an earlier cloud process left."""
        for record in self._world.list("run.execution"):
            if is_running(record.body):
                self.begin(record.name, [facts for facts in known if facts.owner == record.name])

    async def _execute(self, name: str, known: list[Facts] | None) -> None:
        record = await asyncio.to_thread(self._world.get, name)
        if record is None:
            return
        body = record.body
        slots = asyncio.Semaphore(body["parallelism"])

        async def run(index: int) -> TaskEnd:
            async with slots:
                try:
                    return await self._task(name, body, index, known)
                except StartError as error:
                    return TaskEnd("failed", f"{_task_name(name, index)} failed with message: {error}")

        ends = list(await asyncio.gather(*(run(index) for index in range(body["taskCount"]))))
        await asyncio.to_thread(self._write_end, name, ends)
        job = name.partition("/executions/")[0]
        for old in (await asyncio.to_thread(self._ended_executions, job))[:-KEPT_LOGS]:
            await asyncio.to_thread(self._workloads.forget, old)

    def _ended_executions(self, job: str) -> list[str]:
        """The job's executions that have ended, oldest first."""
        records = self._world.list("run.execution", f"{job}/executions/")
        done = [record for record in records if not is_running(record.body)]
        return [record.name for record in sorted(done, key=lambda record: record.created)]

    def _write_end(self, name: str, ends: list[TaskEnd]) -> None:
        now = self._world.now()
        job = name.partition("/executions/")[0]
        try:
            final = self._world.edit(name, lambda body: ended(body, ends, now)).body
            self._world.edit(job, lambda body: {**body, "latestCreatedExecution": reference(final)})
        except NotFound:
            _LOG.info("%s was deleted while it ran", name)

    async def _task(self, name: str, body: dict[str, Any], index: int, known: list[Facts] | None) -> TaskEnd:
        template = body["template"]
        retries = int(template.get("maxRetries", DEFAULT_RETRIES))
        limit = seconds(template.get("timeout"), DEFAULT_TIMEOUT_SECONDS)
        attempt, workload = 0, None
        if known is not None:
            workload = await self._adopted(known, index)
            if workload is None:
                return TaskEnd("failed", f"{_task_name(name, index)} stopped with the rehearsed cloud.")
            attempt = workload.facts.attempt
        while True:
            if name in self._cancelled:
                return TaskEnd("cancelled")
            if workload is None:
                workload = await self._start(name, body, index, attempt)
            code, failure = await self._attempt(name, workload, limit)
            if code == 0:
                return TaskEnd("succeeded", retries=attempt, exit_code=code)
            if name in self._cancelled:
                return TaskEnd("cancelled", retries=attempt)
            if attempt >= retries:
                said = workload.said()
                log = f" Its log ends: {said}" if said else ""
                message = f"{_task_name(name, index)} failed with message: {failure}{log}"
                return TaskEnd("failed", f"{message} (log: {workload.folder / 'log'})", attempt, code)
            attempt, workload = attempt + 1, None

    async def _start(self, name: str, body: dict[str, Any], index: int, attempt: int) -> Workload:
        execution = name.rpartition("/")[2]
        facts = Facts(
            id=new_id(f"{execution}-{index}-{attempt}"),
            owner=name,
            kind="task",
            revision=execution,
            template=body["template"],
            task=index,
            attempt=attempt,
        )
        env = {
            "CLOUD_RUN_JOB": name.split("/")[6],
            "CLOUD_RUN_EXECUTION": execution,
            "CLOUD_RUN_TASK_INDEX": str(index),
            "CLOUD_RUN_TASK_ATTEMPT": str(attempt),
            "CLOUD_RUN_TASK_COUNT": str(body["taskCount"]),
        }
        workload = await asyncio.to_thread(self._workloads.start, facts, env)
        log = f"file://{workload.folder / 'log'}"
        try:
            await asyncio.to_thread(self._world.edit, name, lambda present: {**present, "logUri": log})
        except NotFound:
            # Deleted meanwhile: what was just started has to end too.
            self._cancelled.add(name)
        return workload

    async def _adopted(self, known: list[Facts], index: int) -> Workload | None:
        mine = [facts for facts in known if facts.task == index]
        return await asyncio.to_thread(self._workloads.adopt, mine[-1]) if mine else None


def _task_name(name: str, index: int) -> str:
    return f"Task {name.rpartition('/')[2]}-task{index}"
