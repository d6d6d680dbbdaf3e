"""Runs pipelines: task after task, each a container; what a task has done is kept over restarts."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

from rehearsal.cloud.aiplatform.names import SERVICE
from rehearsal.cloud.aiplatform.pipeline_spec import (
    Run,
    Task,
    output_parameters,
    output_root,
    tasks,
    template,
)
from rehearsal.cloud.recorded import inside
from rehearsal.cloud.running_jobs import RunningJobs
from rehearsal.cloud.workloads import KEPT_LOGS, Facts, Workload, new_id
from rehearsal.runner import StartError
from rehearsal.world import NotFound, WorldError

KIND = "aiplatform.pipelineJob"
RUN = "aiplatform.projects.locations.pipelineJobs.run"
"""The call under which the world records the run itself, for faults that strike it and not the request."""
ENDED = frozenset({"PIPELINE_STATE_SUCCEEDED", "PIPELINE_STATE_FAILED", "PIPELINE_STATE_CANCELLED"})
_LIMIT_SECONDS = 7 * 24 * 3600.0
# google.rpc.Code.
_CANCELLED, _FAILED_PRECONDITION = 1, 9
_LOG = logging.getLogger(__name__)


def is_running(body: dict[str, Any]) -> bool:
    """Whether a pipeline job has not ended."""
    return body["state"] not in ENDED


class _TaskError(Exception):
    """A task that failed; the message says why."""


class PipelineRuns(RunningJobs):
    """The pipeline jobs that run now."""

    def restore(self, known: list[Facts]) -> None:
        """Go on with the pipeline jobs that an earlier cloud process left."""
        for record in self._world.list(KIND):
            if is_running(record.body):
                self.begin(record.name, [facts for facts in known if facts.owner == record.name])

    async def _execute(self, name: str, known: list[Facts] | None) -> None:
        record = await asyncio.to_thread(self._world.get, name)
        if record is None:
            return
        now = self._world.now()
        await self._edit(name, {"state": "PIPELINE_STATE_RUNNING", "startTime": now, "updateTime": now})
        try:
            await inside(self._world.call(SERVICE, RUN, name), self._tasks(name, record.body, known or []))
        except WorldError as error:
            await self._end(name, "PIPELINE_STATE_FAILED", _FAILED_PRECONDITION, error.message)
        except _TaskError as error:
            if name in self._cancelled:
                await self._end(name, "PIPELINE_STATE_CANCELLED", _CANCELLED, "The pipeline was cancelled.")
            else:
                await self._end(name, "PIPELINE_STATE_FAILED", _FAILED_PRECONDITION, str(error))
        else:
            await self._end(name, "PIPELINE_STATE_SUCCEEDED", 0, "")
        await asyncio.to_thread(self._workloads.forget, name, KEPT_LOGS)

    async def _tasks(self, name: str, body: dict[str, Any], known: list[Facts]) -> None:
        details = {each["taskName"]: each for each in (body.get("jobDetail") or {}).get("taskDetails", [])}
        outputs: dict[str, dict[str, Any]] = dict(body.get("outputs") or {})
        for index, task in enumerate(tasks(body["pipelineSpec"]), start=1):
            if details.get(task.name, {}).get("state") == "SUCCEEDED":
                continue
            run = Run(
                name.rpartition("/")[2], output_root(body), body["runtimeConfig"]["parameterValues"], outputs
            )
            detail = {"taskId": str(index), "taskName": task.name, "taskUniqueName": task.name}
            detail |= {"state": "RUNNING", "createTime": self._world.now(), "startTime": self._world.now()}
            details[task.name] = detail
            await self._edit(name, {"jobDetail": {"taskDetails": list(details.values())}})
            mine = [facts for facts in known if facts.revision == task.name]
            failure = await self._task(name, body, task, run, mine)
            state = "SUCCEEDED" if not failure else "CANCELLED" if name in self._cancelled else "FAILED"
            details[task.name] = {**detail, "state": state, "endTime": self._world.now()}
            if failure:
                details[task.name]["error"] = {"code": _FAILED_PRECONDITION, "message": failure}
            else:
                outputs[task.name] = await asyncio.to_thread(self._outputs, task, run)
            change = {"jobDetail": {"taskDetails": list(details.values())}, "outputs": outputs}
            await self._edit(name, change)
            if failure:
                said = f"The DAG failed because some tasks failed. The failed tasks are: [{task.name}]."
                raise _TaskError(f"{said} {failure}")

    async def _task(self, name: str, body: dict[str, Any], task: Task, run: Run, known: list[Facts]) -> str:
        """Run one task to its end; returns why it failed, or an empty text."""
        try:
            workload = await self._workload(name, body, task, run, known)
        except StartError as error:
            return str(error)
        if workload is None:
            return "the rehearsed cloud stopped while it ran"
        code, failure = await self._attempt(name, workload, _LIMIT_SECONDS)
        if code == 0:
            return ""
        said = workload.said()
        return f"{failure}{f' Its log ends: {said}' if said else ''} (log: {workload.folder / 'log'})"

    async def _workload(
        self, name: str, body: dict[str, Any], task: Task, run: Run, known: list[Facts]
    ) -> Workload | None:
        if known:
            return await asyncio.to_thread(self._workloads.adopt, known[-1])
        facts = Facts(
            id=new_id(f"pipeline-{run.job}-{task.name}"),
            owner=name,
            kind="task",
            revision=task.name,
            template=template(task, run, body["pipelineSpec"], body.get("serviceAccount") or ""),
        )
        return await asyncio.to_thread(self._workloads.start, facts, {})

    def _outputs(self, task: Task, run: Run) -> dict[str, Any]:
        """The output parameters that a task wrote; one that it did not write is not there."""
        found: dict[str, Any] = {}
        bucket, _, folder = run.folder(task.name).removeprefix("gs://").partition("/")
        for name in output_parameters(task):
            path = self._world.folder / "buckets" / bucket / folder / name
            if path.is_file():
                text = path.read_text(encoding="utf-8")
                try:
                    found[name] = json.loads(text)
                except ValueError:
                    found[name] = text
        return found

    async def _end(self, name: str, state: str, code: int, message: str) -> None:
        now = self._world.now()
        error = {"error": {"code": code, "message": message}} if code else {}
        await self._edit(name, {"state": state, "endTime": now, "updateTime": now, **error})

    async def _edit(self, name: str, change: dict[str, Any]) -> None:
        try:
            await asyncio.to_thread(self._world.edit, name, lambda body: {**body, **change})
        except NotFound:
            # Deleted meanwhile: what was started for it has to end too.
            self._cancelled.add(name)
            _LOG.info("%s was deleted while it ran", name)
