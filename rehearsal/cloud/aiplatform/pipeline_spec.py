"""Compiled pipelines, as far as they are run here: a graph of containers with parameters and artifacts.

The format is PipelineSpec of
https://github.com/kubeflow/pipelines/blob/master/api/v2alpha1/pipeline_spec.proto. Graphs within graphs,
loops, conditions and importers are not run: such a task fails, and says so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rehearsal.cloud.errors import ApiError
from rehearsal.runner import StartError

_PLACEHOLDER = re.compile(
    r"\{\{\$\.(?P<side>inputs|outputs)\.(?P<kind>parameters|artifacts)\['(?P<name>[^']+)'\]"
    r"(?:\.(?P<what>uri|path|output_file))?\}\}"
)
_WHOLE = "{{$}}"
_NAMES = {"{{$.pipeline_job_name}}": "job", "{{$.pipeline_task_name}}": "task"}


@dataclass(frozen=True, slots=True)
class Task:
    """One task of the root graph."""

    name: str
    spec: Mapping[str, Any]
    component: Mapping[str, Any]
    after: frozenset[str]
    """The tasks that have to succeed first."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a run of a pipeline gives to its tasks."""

    job: str
    """The run's id."""
    root: str
    """`gs://…` below which outputs lie."""
    parameters: Mapping[str, Any]
    outputs: Mapping[str, Mapping[str, Any]]
    """The output parameters of the tasks that have ended, by task."""

    def folder(self, task: str) -> str:
        """`gs://…` of a task's outputs."""
        return f"{self.root.rstrip('/')}/{self.job}/{task}"


def parameter_values(body: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a new run with their defaults.

    Args:
        body: a PipelineJob.

    Raises:
        ApiError: there is no pipeline, no place for its outputs, or a parameter is missing or unknown.
    """
    spec = body.get("pipelineSpec") or {}
    if not spec and body.get("templateUri"):
        message = "templateUri is not part of the rehearsed cloud: send the pipelineSpec"
        raise ApiError("UNIMPLEMENTED", message)
    if not ((spec.get("root") or {}).get("dag") or {}).get("tasks"):
        raise ApiError("INVALID_ARGUMENT", "pipelineSpec has no tasks (root.dag.tasks)")
    tasks(spec)
    if not output_root(body).startswith("gs://"):
        raise ApiError("INVALID_ARGUMENT", "Required field is not set: runtimeConfig.gcsOutputDirectory")
    known = ((spec["root"].get("inputDefinitions") or {}).get("parameters")) or {}
    given = (body.get("runtimeConfig") or {}).get("parameterValues") or {}
    unknown = sorted(set(given) - set(known))
    absent = [
        name
        for name, each in known.items()
        if name not in given and "defaultValue" not in each and not each.get("isOptional")
    ]
    if unknown or absent:
        said = [f"{name} is not a parameter of the pipeline" for name in unknown]
        raise ApiError("INVALID_ARGUMENT", "; ".join([*said, *(f"{name} is not set" for name in absent)]))
    defaults = {name: each["defaultValue"] for name, each in known.items() if "defaultValue" in each}
    return {**defaults, **given}


def output_root(body: Mapping[str, Any]) -> str:
    """Where a run's outputs lie."""
    given = (body.get("runtimeConfig") or {}).get("gcsOutputDirectory")
    return str(given or (body.get("pipelineSpec") or {}).get("defaultPipelineRoot") or "")


def tasks(spec: Mapping[str, Any]) -> list[Task]:
    """The tasks of the root graph in an order in which they can run.

    Raises:
        ApiError: a task names a component or a task that is not there, or the graph is a circle.
    """
    found: dict[str, Task] = {}
    given = spec["root"]["dag"]["tasks"]
    for name, each in given.items():
        component = (spec.get("components") or {}).get((each.get("componentRef") or {}).get("name", ""))
        if component is None:
            raise ApiError("INVALID_ARGUMENT", f"pipelineSpec: task {name} has no component")
        found[name] = Task(name, each, component, _before(each))
        if not found[name].after <= set(given):
            message = f"pipelineSpec: task {name} depends on a task that is not there"
            raise ApiError("INVALID_ARGUMENT", message)
    ordered: list[Task] = []
    while len(ordered) < len(found):
        done = {task.name for task in ordered}
        ready = [task for task in found.values() if task.name not in done and task.after <= done]
        if not ready:
            raise ApiError("INVALID_ARGUMENT", "pipelineSpec: the tasks depend on each other in a circle")
        ordered += ready
    return ordered


def template(task: Task, run: Run, spec: Mapping[str, Any], account: str) -> dict[str, Any]:
    """What the runner starts for a task, in the shape of a Cloud Run task.

    Raises:
        StartError: the task is none that is run here.
    """
    executors = (spec.get("deploymentSpec") or {}).get("executors") or {}
    container = (executors.get(task.component.get("executorLabel", "")) or {}).get("container")
    if container is None or "triggerPolicy" in task.spec or "parameterIterator" in task.spec:
        raise StartError(f"task {task.name}: the rehearsed cloud runs tasks that are one container")
    values = _Values(task, run)
    bucket = run.root.removeprefix("gs://").partition("/")[0]
    return {
        "containers": [
            {
                "image": container["image"],
                "command": [values.fill(word) for word in container.get("command") or []],
                "args": [values.fill(word) for word in container.get("args") or []],
                "env": container.get("env") or [],
                "volumeMounts": [{"name": "gcs", "mountPath": f"/gcs/{bucket}"}],
            }
        ],
        "volumes": [{"name": "gcs", "gcs": {"bucket": bucket}}],
        "serviceAccount": account,
    }


def output_parameters(task: Task) -> list[str]:
    """The names of a task's output parameters."""
    return list((task.component.get("outputDefinitions") or {}).get("parameters") or {})


class _Values:
    def __init__(self, task: Task, run: Run) -> None:
        self._task = task
        self._run = run
        inputs = task.spec.get("inputs") or {}
        self._parameters = {
            name: self._parameter(each) for name, each in (inputs.get("parameters") or {}).items()
        }
        self._artifacts = {
            name: self._artifact(each) for name, each in (inputs.get("artifacts") or {}).items()
        }

    def fill(self, word: Any) -> str:
        text = str(word)
        for placeholder, which in _NAMES.items():
            text = text.replace(placeholder, self._run.job if which == "job" else self._task.name)
        if _WHOLE in text:
            text = text.replace(_WHOLE, json.dumps({"inputs": {"parameterValues": self._parameters}}))
        return _PLACEHOLDER.sub(lambda found: self._value(**found.groupdict()), text)

    def _value(self, side: str, kind: str, name: str, what: str | None) -> str:
        if side == "inputs" and kind == "parameters":
            value = self._parameters.get(name, "")
            return value if isinstance(value, str) else json.dumps(value)
        own = f"{self._run.folder(self._task.name)}/{name}"
        uri = self._artifacts.get(name, "") if side == "inputs" else own
        return uri if what == "uri" else uri.replace("gs://", "/gcs/", 1)

    def _parameter(self, given: Mapping[str, Any]) -> Any:
        if "runtimeValue" in given:
            return given["runtimeValue"].get("constant")
        if "componentInputParameter" in given:
            return self._run.parameters.get(given["componentInputParameter"])
        source = given.get("taskOutputParameter") or {}
        outputs = self._run.outputs.get(source.get("producerTask", ""), {})
        return outputs.get(source.get("outputParameterKey", ""))

    def _artifact(self, given: Mapping[str, Any]) -> str:
        source = given.get("taskOutputArtifact") or {}
        return f"{self._run.folder(source.get('producerTask', ''))}/{source.get('outputArtifactKey', '')}"


def _before(task: Mapping[str, Any]) -> frozenset[str]:
    inputs = task.get("inputs") or {}
    sources = [each.get("taskOutputParameter") for each in (inputs.get("parameters") or {}).values()]
    sources += [each.get("taskOutputArtifact") for each in (inputs.get("artifacts") or {}).values()]
    named = {source["producerTask"] for source in sources if source}
    return frozenset(named | set(task.get("dependentTasks") or ()))
