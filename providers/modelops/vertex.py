"""Vertex AI custom jobs, by the Vertex AI API v1.

Vertex AI keeps no definition of a job beside its runs: a custom job is created and runs at once. So the
resource carries the definition, and a "job" here is the name that all its custom jobs show. Google gives each
of them a number; an interrupted deployment finds its own by that name and by the label of its target.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import Field

from providers.base.errors import ProviderError, one_line
from providers.modelops.client import NotFound, TemporaryError
from providers.modelops.runners import DEFINITION_LABEL, LABEL, Definition, Execution, Job, Runner, Text, Work

_NAME = re.compile(r"projects/(?P<project>[^/]+)/locations/(?P<location>[^/]+)/customJobs/(?P<job>[^/]+)")
# https://cloud.google.com/vertex-ai/docs/training/understanding-training-service, "Handle common errors".
_EXIT = re.compile(r"exited with a non-zero status of (\d+)")
_OUT_OF_MEMORY = re.compile(r"ran out[ -]of[ -]memory")
_KILLED = 137
# Discovery document aiplatform.v1, CustomJob.state.
_ENDED = frozenset({"SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED", "PARTIALLY_SUCCEEDED"})
_LIVE_FILTER = " OR ".join(f'state="JOB_STATE_{state}"' for state in ("QUEUED", "PENDING", "RUNNING"))


class VertexDefinition(Definition):
    """A custom job of one machine."""

    machine_type: Text
    """A Compute Engine machine type that Vertex AI trains on."""
    boot_disk_gb: Annotated[int, Field(ge=1)]
    """Size of the boot disk, in GB."""
    boot_disk_type: Text
    """`pd-ssd`, `pd-standard` or `hyperdisk-balanced`."""


class VertexJobs(Runner):
    """Creates and watches custom jobs."""

    platform = "Vertex AI"
    pattern = _NAME
    shape = "projects/PROJECT/locations/LOCATION/customJobs/NAME"
    definition_type = VertexDefinition

    def begin(self, work: Work) -> Execution:
        """See `Runner.begin`."""

        def attempt() -> Execution:
            live = self._live(work, repeat=False)
            return next((_execution(one) for one in live if _is_by(one, work)), None) or self._create(work)

        execution: Execution = self.google.retrying()(attempt)
        return execution

    def running(self, work: Work) -> Execution | None:
        """See `Runner.running`."""
        return next(map(_execution, self._live(work)), None)

    def outdated(self, work: Work) -> Execution | None:
        """See `Runner.outdated`."""
        return next((_execution(one) for one in self._live(work) if not _is_by(one, work)), None)

    def execution(self, name: str) -> Execution:
        """See `Runner.execution`."""
        return _execution(self._call(name, "watching", self._jobs(name).get, name=name))

    def cancel(self, name: str) -> None:
        """See `Runner.cancel`."""
        try:
            self._call(name, "stopping", self._jobs(name).cancel, name=name, body={})
        except NotFound:
            return
        except ProviderError:
            # One that ended since it was looked for is refused.
            if not self.execution(name).done:
                raise

    def exit_code(self, execution: Execution) -> tuple[int | None, str]:
        """See `Runner.exit_code`; Vertex AI tells the code in the words of the job's error."""
        said = execution.message
        if _OUT_OF_MEMORY.search(said):
            return _KILLED, said
        found = _EXIT.search(said)
        return int(found[1]) if found else None, said

    def job(self, name: str) -> Job:
        """See `Runner.job`: what the newest custom job of that name was created with."""
        newest = max(self._named(name), key=lambda item: str(item.get("createTime", "")), default=None)
        if newest is None:
            raise NotFound(f"reading custom job {name}: no custom job shows this name")
        spec = newest.get("jobSpec", {})
        pools = spec.get("workerPoolSpecs") or [{}]
        args = tuple(pools[0].get("containerSpec", {}).get("args", []))
        label = newest.get("labels", {}).get(LABEL, "")
        return Job(name, args, label, spec.get("serviceAccount", ""))

    def stages_elsewhere(self, work: Work) -> list[str]:
        """See `Runner.stages_elsewhere`: Vertex AI knows only those that run."""
        parent, _, own = work.job.rpartition("/customJobs/")
        names = {
            item["displayName"]
            for item in self._pages(work.job, _LIVE_FILTER)
            if item.get("labels", {}).get(LABEL) == work.label and item["displayName"] != own
        }
        return [f"{parent}/customJobs/{name}" for name in sorted(names)]

    def _live(self, work: Work, repeat: bool = True) -> list[dict[str, Any]]:
        """Those that stage the target and have not ended, the newest first."""
        live = [
            item
            for item in self._named(work.job, repeat)
            if item.get("labels", {}).get(LABEL) == work.label and not _execution(item).done
        ]
        return sorted(live, key=lambda item: str(item.get("createTime", "")), reverse=True)

    def _create(self, work: Work) -> Execution:
        definition = work.definition
        if not isinstance(definition, VertexDefinition):
            raise ProviderError(f"job {work.job}: a custom job needs its definition")
        parent, _, name = work.job.rpartition("/customJobs/")
        body = request_body(name, work.label, definition)
        try:
            created = self._call(
                work.job, "creating", self._jobs(work.job).create, False, parent=parent, body=body
            )
        except (NotFound, TemporaryError):
            raise
        except ProviderError as error:
            if f"{definition.service_account} does not exist" not in str(error):
                raise
            # An account that was just made is not known everywhere yet.
            raise TemporaryError(f"{error}; run the command again in some minutes") from error
        return _execution(created)

    def _named(self, job: str, repeat: bool = True) -> Iterator[dict[str, Any]]:
        """The custom jobs that show a job's name."""
        return self._pages(job, f'display_name="{job.rpartition("/")[2]}"', repeat)

    def _pages(self, job: str, wanted: str, repeat: bool = True) -> Iterator[dict[str, Any]]:
        parent, page = job.rpartition("/customJobs/")[0], None
        while True:
            answer = self._call(
                job,
                "looking for",
                self._jobs(job).list,
                repeat,
                parent=parent,
                filter=wanted,
                pageToken=page,
            )
            yield from answer.get("customJobs", [])
            page = answer.get("nextPageToken")
            if not page:
                return

    def _jobs(self, name: str) -> Any:
        matched = _NAME.match(name)
        location = matched["location"] if matched else ""
        return self.google.service("aiplatform", location).projects().locations().customJobs()

    def _call(self, job: str, verb: str, method: Any, repeat: bool = True, **arguments: Any) -> Any:
        matched = _NAME.match(job)
        project = f"project {matched['project']}" if matched else "the project"
        role = f"roles/aiplatform.user on {project}"
        if verb == "creating":
            account = arguments["body"]["jobSpec"]["serviceAccount"]
            role = f"{role} and roles/iam.serviceAccountUser on {account}"
        return self.google.call(f"{verb} custom job {job}", role, lambda: method(**arguments), repeat)


def request_body(name: str, label: str, definition: VertexDefinition) -> dict[str, Any]:
    """The request that creates a custom job.

    Args:
        name: what it shows.
        label: value of `LABEL`.
        definition: what it runs.
    """
    pool = {
        "machineSpec": {"machineType": definition.machine_type},
        "replicaCount": "1",
        "diskSpec": {
            "bootDiskType": definition.boot_disk_type,
            "bootDiskSizeGb": definition.boot_disk_gb,
        },
        "containerSpec": {
            "imageUri": definition.image,
            "args": list(definition.args),
            "env": [{"name": key, "value": value} for key, value in definition.env.items()],
        },
    }
    return {
        "displayName": name,
        "labels": {**definition.labels, LABEL: label, DEFINITION_LABEL: definition.digest},
        "jobSpec": {
            "workerPoolSpecs": [pool],
            "scheduling": {"timeout": f"{definition.timeout_seconds}s"},
            "serviceAccount": definition.service_account,
        },
    }


def _is_by(body: dict[str, Any], work: Work) -> bool:
    """Whether a custom job was created by the work's definition."""
    wanted = work.definition.digest if work.definition else None
    return bool(body.get("labels", {}).get(DEFINITION_LABEL) == wanted)


def _execution(body: dict[str, Any]) -> Execution:
    """A custom job's state."""
    state = str(body.get("state", "")).removeprefix("JOB_STATE_")
    done = state in _ENDED
    said = one_line(body.get("error", {}).get("message", "")) if done else state.lower()
    number = str(body["name"]).rpartition("/")[2]
    return Execution(
        name=body["name"],
        done=done,
        succeeded=state == "SUCCEEDED",
        # Google ends the message with an address of the log; ours stands beside it.
        message=said.partition(" To find out more about why your job exited")[0] or state.lower(),
        log_uri=_log(body["name"], number),
        short=f"{body.get('displayName', '')} ({number})",
    )


def _log(name: str, number: str) -> str:
    """Where the log is read: https://cloud.google.com/vertex-ai/docs/training/monitor-debug (ml_job)."""
    matched = _NAME.match(name)
    query = quote(f'resource.type="ml_job"\nresource.labels.job_id="{number}"', safe="")
    project = matched["project"] if matched else ""
    return f"https://console.cloud.google.com/logs/query;query={query}?project={project}"
