"""Cloud Run jobs and their executions, by the Cloud Run Admin API v2."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from providers.base.errors import one_line
from providers.modelops.client import Google, NotFound

LABEL = "llm-target"
"""Label of a job's executions that says what they stage."""

JOB_NAME = re.compile(r"projects/(?P<project>[^/]+)/locations/(?P<location>[^/]+)/jobs/(?P<job>[^/]+)")


@dataclass(frozen=True, slots=True)
class Execution:
    """One run of a job."""

    name: str
    """Full name, `projects/P/locations/L/jobs/J/executions/E`."""
    done: bool
    succeeded: bool
    message: str
    log_uri: str

    @property
    def short_name(self) -> str:
        """The last part of the name."""
        return self.name.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Job:
    """What a job's definition says."""

    name: str
    args: tuple[str, ...]
    label: str
    """The `llm-target` of its executions."""
    account: str
    """E-mail address of the service account that it runs as; empty where the definition names none."""


class Jobs:
    """What a staged model needs of Cloud Run."""

    def __init__(self, google: Google) -> None:
        self._google = google

    def get(self, name: str) -> Job:
        """A job's definition.

        Raises:
            NotFound: there is no such job.
            ProviderError: Google refused or cannot be reached.
        """
        return _job(self._call(name, "reading", "viewer", self._jobs().get, name=name))

    def stages_elsewhere(self, name: str, label: str) -> list[str]:
        """The other jobs beside this one that stage the same target; raises as `get` does."""
        parent = name.rpartition("/jobs/")[0]
        pages = self._pages(parent, "jobs", self._jobs().list, parent=parent)
        found = [_job(item) for item in pages if not item.get("deleteTime")]
        return [job.name for job in found if job.label == label and job.name != name]

    def running(self, name: str, label: str, repeat: bool = True) -> Execution | None:
        """The newest execution of the job that stages the labelled target and has not ended.

        None where the job does not exist. Raises as `get` does otherwise.
        """
        try:
            items = list(self._pages(name, "executions", self._executions().list, repeat, parent=name))
        except NotFound:
            return None
        found = [item for item in items if item.get("labels", {}).get(LABEL) == label]
        live = [item for item in found if not _execution(item).done]
        newest = max(live, key=lambda item: item.get("createTime", ""), default=None)
        return _execution(newest) if newest else None

    def start(self, name: str, label: str) -> Execution:
        """Starts an execution, or takes one that stages the labelled target already.

        Starting is not idempotent: when an answer is lost, the execution may run all the same. So each
        attempt looks first. Raises as `get` does.
        """

        def attempt() -> Execution:
            return self.running(name, label, repeat=False) or self._run(name, label)

        execution: Execution = self._google.retrying()(attempt)
        return execution

    def execution(self, name: str) -> Execution:
        """An execution as it is now; raises as `get` does."""
        job = name.rpartition("/executions/")[0]
        return _execution(self._call(job, "watching", "viewer", self._executions().get, name=name))

    def cancel(self, name: str) -> None:
        """Asks an execution to stop; one that is gone or has ended already is no error."""
        job = name.rpartition("/executions/")[0]
        try:
            self._call(
                job, "stopping an execution of", "developer", self._executions().cancel, name=name, body={}
            )
        except NotFound:
            return

    def exit_code(self, execution: Execution) -> tuple[int | None, str]:
        """Exit code, if any, and message of the last attempt of an execution's task; raises as `get` does."""
        job = execution.name.rpartition("/executions/")[0]
        tasks = self._executions().tasks().list
        for task in self._pages(job, "tasks", tasks, parent=execution.name):
            result = task.get("lastAttemptResult", {})
            message = one_line(result.get("status", {}).get("message", ""))
            if result.get("exitCode") or message:
                return result.get("exitCode"), message
        return None, ""

    def _run(self, name: str, label: str) -> Execution:
        operation = self._call(name, "running", "developer", self._jobs().run, False, name=name, body={})
        if operation.get("metadata", {}).get("name"):
            return _execution(operation["metadata"])
        started = self.running(name, label)
        if started is None:
            raise NotFound(f"running job {name}: Google named no execution; run the command again")
        return started

    def _jobs(self) -> Any:
        return self._google.service("run").projects().locations().jobs()

    def _executions(self) -> Any:
        return self._jobs().executions()

    def _call(
        self, job: str, verb: str, role: str, method: Any, repeat: bool = True, **arguments: Any
    ) -> Any:
        matched = JOB_NAME.match(job)
        project = f"project {matched['project']}" if matched else "the project"
        return self._google.call(
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
