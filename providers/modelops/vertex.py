"""Staging by custom jobs of Vertex AI.

Vertex AI keeps no definition of a job beside its runs: a custom job is created and runs at once. So the
resource carries the definition, and a "job" here is the name that all its custom jobs show. Google gives each
of them a number; an interrupted deployment finds its own by that name and by the label of its target.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import Field

from providers.base.errors import ProviderError
from providers.modelops.client import Google, NotFound
from providers.modelops.runners import DEFINITION_LABEL, LABEL, Definition, Execution, Job, Runner, Text, Work
from providers.modelops.vertexai.api import VertexApi
from providers.modelops.vertexai.custom_jobs import LIVE_FILTER, CustomJobs, run_of, shows

_NAME = re.compile(r"projects/(?P<project>[^/]+)/locations/(?P<location>[^/]+)/customJobs/(?P<job>[^/]+)")
# https://cloud.google.com/vertex-ai/docs/training/understanding-training-service, "Handle common errors".
_EXIT = re.compile(r"exited with a non-zero status of (\d+)")
_OUT_OF_MEMORY = re.compile(r"ran out[ -]of[ -]memory")
_KILLED = 137


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

    def __init__(self, google: Google) -> None:
        super().__init__(google)
        self._jobs = CustomJobs(VertexApi(google))

    def begin(self, work: Work) -> Execution:
        """See `Runner.begin`."""
        definition = work.definition
        if not isinstance(definition, VertexDefinition):
            raise ProviderError(f"job {work.job}: a custom job needs its definition")
        parent, _, name = work.job.rpartition("/customJobs/")
        body = request_body(name, work.label, definition)
        return _execution(
            self._jobs.found_or_created(
                _what(work.job),
                parent,
                body,
                shows(name),
                lambda each: _stages(each, work) and _is_by(each, work),
            )
        )

    def running(self, work: Work) -> Execution | None:
        """See `Runner.running`."""
        return next(map(_execution, self._live(work)), None)

    def outdated(self, work: Work) -> Execution | None:
        """See `Runner.outdated`."""
        return next((_execution(one) for one in self._live(work) if not _is_by(one, work)), None)

    def execution(self, name: str) -> Execution:
        """See `Runner.execution`."""
        return _execution(self._jobs.get(_what(name), name))

    def cancel(self, name: str) -> None:
        """See `Runner.cancel`."""
        self._jobs.cancel(_what(name), name)

    def exit_code(self, execution: Execution) -> tuple[int | None, str]:
        """See `Runner.exit_code`; Vertex AI tells the code in the words of the job's error."""
        said = execution.message
        if _OUT_OF_MEMORY.search(said):
            return _KILLED, said
        found = _EXIT.search(said)
        return int(found[1]) if found else None, said

    def job(self, name: str) -> Job:
        """See `Runner.job`: what the newest custom job of that name was created with."""
        parent, _, shown = name.rpartition("/customJobs/")
        every = self._jobs.listed(_what(name), parent, shows(shown))
        newest = max(every, key=lambda item: str(item.get("createTime", "")), default=None)
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
            for item in self._jobs.listed(_what(work.job), parent, LIVE_FILTER)
            if item.get("labels", {}).get(LABEL) == work.label and item["displayName"] != own
        }
        return [f"{parent}/customJobs/{name}" for name in sorted(names)]

    def _live(self, work: Work) -> list[dict[str, Any]]:
        """Those that stage the target and have not ended, the newest first."""
        parent, _, name = work.job.rpartition("/customJobs/")
        live = [
            item for item in self._jobs.listed(_what(work.job), parent, shows(name)) if _stages(item, work)
        ]
        return sorted(live, key=lambda item: str(item.get("createTime", "")), reverse=True)


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


def _what(job: str) -> str:
    return f"custom job {job}"


def _stages(body: dict[str, Any], work: Work) -> bool:
    """Whether a custom job stages the work's target and has not ended."""
    return bool(body.get("labels", {}).get(LABEL) == work.label) and not run_of(body).done


def _is_by(body: dict[str, Any], work: Work) -> bool:
    """Whether a custom job was created by the work's definition."""
    wanted = work.definition.digest if work.definition else None
    return bool(body.get("labels", {}).get(DEFINITION_LABEL) == wanted)


def _execution(body: dict[str, Any]) -> Execution:
    """A custom job as an execution."""
    run = run_of(body)
    number = run.name.rpartition("/")[2]
    return Execution(
        name=run.name,
        done=run.done,
        succeeded=run.succeeded,
        message=run.message,
        log_uri=run.log_uri,
        short=f"{body.get('displayName', '')} ({number})",
    )
