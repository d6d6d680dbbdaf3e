"""Cloud Run jobs and their executions, by the Cloud Run Admin API v2."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from providers.base.errors import ProviderError, one_line
from providers.modelops.client import NotFound
from providers.modelops.runners import LABEL, Execution, Job, Runner, Work

JOB_NAME = re.compile(r"projects/(?P<project>[^/]+)/locations/(?P<location>[^/]+)/jobs/(?P<job>[^/]+)")


class CloudRunJobs(Runner):
    """Runs a Cloud Run job, which is a resource of its own and keeps the definition."""

    platform = "Cloud Run"
    pattern = JOB_NAME
    shape = "projects/PROJECT/locations/LOCATION/jobs/JOB"

    def job(self, name: str) -> Job:
        """See `Runner.job`: the definition."""
        return _job(self._call(name, "reading", "viewer", self._jobs().get, name=name))

    def stages_elsewhere(self, work: Work) -> list[str]:
        """See `Runner.stages_elsewhere`; all jobs beside this one are asked."""
        parent = work.job.rpartition("/jobs/")[0]
        pages = self._pages(parent, "jobs", self._jobs().list, parent=parent)
        found = [_job(item) for item in pages if not item.get("deleteTime")]
        return [job.name for job in found if job.label == work.label and job.name != work.job]

    def running(self, work: Work) -> Execution | None:
        """See `Runner.running`; None where the job does not exist."""
        return self._live(work.job, work.label)

    def begin(self, work: Work) -> Execution:
        """See `Runner.begin`."""
        job = self.job(work.job)
        running = self.running(work)
        if running is not None:
            return running
        if job.label != work.label:
            has = job.label or "nothing"
            raise ProviderError(
                f"job {work.job} stages something else: its executions have {LABEL}={has}, and this target "
                f"needs {LABEL}={work.label}; the job must be updated first"
            )

        def attempt() -> Execution:
            return self._live(work.job, work.label, repeat=False) or self._run(work)

        execution: Execution = self.google.retrying()(attempt)
        return execution

    def execution(self, name: str) -> Execution:
        """See `Runner.execution`."""
        job = name.rpartition("/executions/")[0]
        return _execution(self._call(job, "watching", "viewer", self._executions().get, name=name))

    def cancel(self, name: str) -> None:
        """See `Runner.cancel`."""
        job = name.rpartition("/executions/")[0]
        try:
            self._call(
                job, "stopping an execution of", "developer", self._executions().cancel, name=name, body={}
            )
        except NotFound:
            return
        except ProviderError:
            # One that ended since it was looked for is refused.
            if not self.execution(name).done:
                raise

    def exit_code(self, execution: Execution) -> tuple[int | None, str]:
        """See `Runner.exit_code`: those of the last attempt of the execution's task."""
        job = execution.name.rpartition("/executions/")[0]
        tasks = self._executions().tasks().list
        for task in self._pages(job, "tasks", tasks, parent=execution.name):
            result = task.get("lastAttemptResult", {})
            message = one_line(result.get("status", {}).get("message", ""))
            if result.get("exitCode") or message:
                return result.get("exitCode"), message
        return None, ""

    def _live(self, name: str, label: str, repeat: bool = True) -> Execution | None:
        try:
            items = list(self._pages(name, "executions", self._executions().list, repeat, parent=name))
        except NotFound:
            return None
        found = [item for item in items if item.get("labels", {}).get(LABEL) == label]
        live = [item for item in found if not _execution(item).done]
        newest = max(live, key=lambda item: item.get("createTime", ""), default=None)
        return _execution(newest) if newest else None

    def _run(self, work: Work) -> Execution:
        name = work.job
        operation = self._call(name, "running", "developer", self._jobs().run, False, name=name, body={})
        if operation.get("metadata", {}).get("name"):
            return _execution(operation["metadata"])
        started = self.running(work)
        if started is None:
            raise NotFound(f"running job {name}: Google named no execution; run the command again")
        return started

    def _jobs(self) -> Any:
        return self.google.service("run").projects().locations().jobs()

    def _executions(self) -> Any:
        return self._jobs().executions()

    def _call(
        self, job: str, verb: str, role: str, method: Any, repeat: bool = True, **arguments: Any
    ) -> Any:
        matched = JOB_NAME.match(job)
        project = f"project {matched['project']}" if matched else "the project"
        return self.google.call(
            f"{verb} job {job}", f"roles/run.{role} on {project}", lambda: method(**arguments), repeat
        )

    def _pages(
        self, name: str, field: str, method: Any, repeat: bool = True, **arguments: Any
    ) -> Iterator[dict[str, Any]]:
        page: str | None = None
        while True:
            answer = self._call(
                name, f"listing {field} of", "viewer", method, repeat, pageToken=page, **arguments
            )
            yield from answer.get(field, [])
            page = answer.get("nextPageToken")
            if not page:
                return


def _job(body: dict[str, Any]) -> Job:
    template = body.get("template", {})
    task = template.get("template", {})
    containers = task.get("containers", [])
    args = tuple(containers[0].get("args", [])) if containers else ()
    label = template.get("labels", {}).get(LABEL, "")
    return Job(body["name"], args, label, task.get("serviceAccount", ""))


def _execution(body: dict[str, Any]) -> Execution:
    """An execution's state; its condition `Completed` decides, its times and counts where that is missing."""
    conditions = body.get("conditions", [])
    completed: dict[str, Any] = next((c for c in conditions if c.get("type") == "Completed"), {})
    state = completed.get("state", "")
    counted = int(body.get("succeededCount", 0)) >= max(int(body.get("taskCount", 1)), 1)
    failed = state == "CONDITION_FAILED"
    done = failed or state == "CONDITION_SUCCEEDED" or bool(body.get("completionTime"))
    # What a running one is doing stands in the condition that is not fulfilled yet.
    waiting: dict[str, Any] = next(
        (c for c in conditions if c.get("message") and c.get("state") != "CONDITION_SUCCEEDED"), {}
    )
    return Execution(
        name=body["name"],
        done=done,
        succeeded=done and not failed and (state == "CONDITION_SUCCEEDED" or counted),
        message=one_line(completed.get("message") or waiting.get("message", "")),
        log_uri=body.get("logUri", ""),
    )
