"""Runs custom jobs of Vertex AI: one machine, one container, one attempt.

How Vertex AI treats a container that ends, and what it says then:
https://cloud.google.com/vertex-ai/docs/training/understanding-training-service
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from rehearsal.cloud.execution_state import seconds
from rehearsal.cloud.recorded import inside
from rehearsal.cloud.running_jobs import RunningJobs
from rehearsal.cloud.workloads import KEPT_LOGS, Facts, Workload, new_id
from rehearsal.runner import StartError
from rehearsal.world import NotFound, Record, WorldError

KIND = "aiplatform.customJob"
RUN = "aiplatform.projects.locations.customJobs.run"
"""The call under which the world records the run itself, for faults that strike it and not the request."""
_SERVICE = "aiplatform.googleapis.com"
ENDED = frozenset({"JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED"})
DEFAULT_TIMEOUT_SECONDS = 7 * 24 * 3600.0
"""Discovery document aiplatform.v1, Scheduling.timeout."""
# google.rpc.Code.
_CANCELLED, _INVALID_ARGUMENT = 1, 3
_LOG = logging.getLogger(__name__)


def is_running(body: dict[str, Any]) -> bool:
    """Whether a custom job has not ended."""
    return body["state"] not in ENDED


class CustomJobs(RunningJobs):
    """The custom jobs that run now."""

    def restore(self, known: list[Facts]) -> None:
        """Go on with the custom jobs that an earlier cloud process left."""
        for record in self._world.list(KIND):
            if is_running(record.body):
                self.begin(record.name, [facts for facts in known if facts.owner == record.name])

    async def _execute(self, name: str, known: list[Facts] | None) -> None:
        record = await asyncio.to_thread(self._world.get, name)
        if record is None:
            return
        try:
            await inside(self._world.call(_SERVICE, RUN, name), self._run(name, record, known))
        except WorldError as error:
            code = 8 if error.code == 429 else 14 if error.code == 503 else 13
            await self._end(name, "JOB_STATE_FAILED", {"code": code, "message": error.message})

    async def _run(self, name: str, record: Record, known: list[Facts] | None) -> None:
        try:
            workload = await self._workload(name, record.body, known)
        except StartError as error:
            await self._end(name, "JOB_STATE_FAILED", {"code": _INVALID_ARGUMENT, "message": str(error)})
            return
        if workload is None:
            said = "Internal error occurred for the current attempt: the rehearsed cloud stopped."
            await self._end(name, "JOB_STATE_FAILED", {"code": 13, "message": said})
            return
        await self._edit(name, lambda body: {**body, "state": "JOB_STATE_RUNNING"})
        scheduling = record.body["jobSpec"].get("scheduling") or {}
        limit = seconds(scheduling.get("timeout"), DEFAULT_TIMEOUT_SECONDS)
        code, failure = await self._attempt(name, workload, limit)
        await self._end(name, *self._outcome(name, code, failure, workload))
        await asyncio.to_thread(self._workloads.forget, name, KEPT_LOGS)

    def _outcome(
        self, name: str, code: int | None, failure: str, workload: Workload
    ) -> tuple[str, dict[str, Any] | None]:
        if code == 0:
            return "JOB_STATE_SUCCEEDED", None
        if name in self._cancelled:
            return "JOB_STATE_CANCELLED", {"code": _CANCELLED, "message": "CANCELED"}
        log = workload.folder / "log"
        what = failure
        if code is not None:
            ended = f"exited with a non-zero status of {code}. Termination reason: Error."
            what = f"The replica workerpool0-0 {ended}"
        said = workload.said()
        words = f" Its log ends: {said}" if said else ""
        return "JOB_STATE_FAILED", {"code": _INVALID_ARGUMENT, "message": f"{what}{words} (log: {log})"}

    async def _workload(self, name: str, body: dict[str, Any], known: list[Facts] | None) -> Workload | None:
        if known is not None:
            return await asyncio.to_thread(self._workloads.adopt, known[-1]) if known else None
        number = name.rpartition("/")[2]
        facts = Facts(
            id=new_id(f"custom-job-{number}"),
            owner=name,
            kind="task",
            revision=number,
            template=_template(body["jobSpec"]),
        )
        return await asyncio.to_thread(self._workloads.start, facts, {})

    async def _end(self, name: str, state: str, error: dict[str, Any] | None) -> None:
        now = self._world.now()
        ended = {"state": state, "endTime": now, "updateTime": now, **({"error": error} if error else {})}
        await self._edit(name, lambda body: {**body, **ended})

    async def _edit(self, name: str, change: Any) -> None:
        try:
            await asyncio.to_thread(self._world.edit, name, change)
        except NotFound:
            # Deleted meanwhile: what was started for it has to end too.
            self._cancelled.add(name)
            _LOG.info("%s was deleted while it ran", name)


def _template(spec: dict[str, Any]) -> dict[str, Any]:
    """What the runner starts, in the shape of a Cloud Run task, which is the one that it knows."""
    given = spec["workerPoolSpecs"][0]["containerSpec"]
    container = {
        "image": given["imageUri"],
        "command": given.get("command") or [],
        "args": given.get("args") or [],
        "env": given.get("env") or [],
    }
    return {"containers": [container], "serviceAccount": spec.get("serviceAccount") or ""}
