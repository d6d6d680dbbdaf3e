"""Predicates about Cloud Run: CPU, memory, accelerators, scaling, volumes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from providers.base.values import UNKNOWN, Properties
from rehearsal.standins.gcp.rules_common import known
from rehearsal.standins.model import Cloud
from rehearsal.standins.refusals import Finding, predicate

_GIB = 1024**3
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": _GIB}
_GPU = "nvidia.com/gpu"


@dataclass(frozen=True, slots=True)
class Unit:
    """What runs together: a revision's or a task's template, with its path."""

    path: str
    template: dict[str, Any]

    @property
    def containers(self) -> list[tuple[str, dict[str, Any]]]:
        """The containers, each with its path."""
        found = known(self.template, "containers") or []
        return [(f"{self.path}.containers[{i}]", c) for i, c in enumerate(found) if isinstance(c, dict)]

    @property
    def accelerator(self) -> str | None:
        """The accelerator that its nodes must have."""
        return known(known(self.template, "nodeSelector"), "accelerator")  # type: ignore[no-any-return]

    @property
    def accelerator_unknown(self) -> bool:
        """Whether nobody can say yet if there is one."""
        selector = self.template.get("nodeSelector")
        return selector is UNKNOWN or (isinstance(selector, dict) and selector.get("accelerator") is UNKNOWN)


def units(inputs: Properties) -> list[Unit]:
    """A service's revision template, or a job's task template."""
    template = known(inputs, "template")
    if not isinstance(template, dict):
        return []
    task = known(template, "template")
    return [Unit("template.template", task)] if isinstance(task, dict) else [Unit("template", template)]


def limits(container: dict[str, Any]) -> dict[str, Any]:
    """A container's resource limits."""
    found = known(known(container, "resources"), "limits")
    return found if isinstance(found, dict) else {}


def cpus(container: dict[str, Any]) -> float | None:
    """How many CPUs a container asks for, or None where that is absent, unknown or no quantity."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(m?)", str(known(limits(container), "cpu") or ""))
    return float(found[1]) / (1000 if found[2] else 1) if found else None


def memory(container: dict[str, Any]) -> int | None:
    """How many bytes a container asks for, or None."""
    found = re.fullmatch(r"(\d+)([kMG]|[KMG]i)?", str(known(limits(container), "memory") or ""))
    return int(found[1]) * _UNITS[found[2] or ""] if found else None


def _cpu_only(inputs: Properties) -> Iterator[tuple[str, dict[str, Any]]]:
    for unit in units(inputs):
        if unit.accelerator is None and not unit.accelerator_unknown:
            yield from unit.containers


def _gib(size: int) -> str:
    return f"{size / _GIB:g} GiB"


@predicate
def quantity_malformed(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:  # noqa: ARG001
    """A limit that is no Kubernetes quantity."""
    readers = {"cpu": cpus, "memory": memory}
    for unit in units(inputs):
        for path, container in unit.containers:
            for name, read in readers.items():
                value = known(limits(container), name)
                if value is not None and read(container) is None:
                    yield f"{path}.resources.limits.{name}", {"value": value}


@predicate
def limit_unknown(cloud: Cloud, inputs: Properties, values: list[str]) -> Iterator[Finding]:  # noqa: ARG001
    """A limit on something that Cloud Run cannot limit."""
    for unit in units(inputs):
        for path, container in unit.containers:
            for name in limits(container):
                if name not in values:
                    yield f"{path}.resources.limits", {"value": name, "values": ", ".join(values)}


@predicate
def memory_not_given(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:  # noqa: ARG001
    """A container that mounts something and is left with the default memory."""
    for unit in units(inputs):
        for path, container in unit.containers:
            resources = container.get("resources")
            if (
                container.get("volumeMounts")
                and resources is not UNKNOWN
                and "memory" not in limits(container)
            ):
                yield path, {}


@predicate
def cpu_count(cloud: Cloud, inputs: Properties, values: list[int]) -> Iterator[Finding]:  # noqa: ARG001
    """A number of whole CPUs that Cloud Run does not offer."""
    for path, container in _cpu_only(inputs):
        count = cpus(container)
        if count is not None and count >= 1 and count not in values:
            yield (
                f"{path}.resources.limits.cpu",
                {"value": f"{count:g}", "values": ", ".join(map(str, values))},
            )


@predicate
def cpu_fraction(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:  # noqa: ARG001
    """Less than one CPU."""
    for path, container in _cpu_only(inputs):
        count = cpus(container)
        if count is not None and count < 1:
            yield f"{path}.resources.limits.cpu", {"value": f"{count:g}"}


@predicate
def memory_below_cpu(cloud: Cloud, inputs: Properties, cpu: list[int], gib: int) -> Iterator[Finding]:  # noqa: ARG001
    """Too little memory for the number of CPUs."""
    for path, container in _cpu_only(inputs):
        size = memory(container)
        if size is not None and cpus(container) in cpu and size < gib * _GIB:
            facts = {"cpu": f"{cpus(container):g}", "memory": _gib(size), "least": f"{gib} GiB"}
            yield f"{path}.resources.limits.memory", facts


@predicate
def cpu_below_memory(cloud: Cloud, inputs: Properties, steps: dict[int, int]) -> Iterator[Finding]:  # noqa: ARG001
    """Too few CPUs for the memory; `steps` maps GiB to the CPUs that more than that needs."""
    for path, container in _cpu_only(inputs):
        size, count = memory(container), cpus(container)
        if size is None:
            continue
        least = max((need for gib, need in steps.items() if size > gib * _GIB), default=0)
        if (1.0 if count is None else count) < least:
            facts = {"memory": _gib(size), "least": least, "cpu": f"{count or 1:g}"}
            yield f"{path}.resources.limits.cpu", facts


@predicate
def memory_out_of_range(cloud: Cloud, inputs: Properties, least_mib: int, most_gib: int) -> Iterator[Finding]:  # noqa: ARG001
    """Memory that Cloud Run does not offer."""
    for path, container in _cpu_only(inputs):
        size = memory(container)
        if size is not None and not least_mib * 2**20 <= size <= most_gib * _GIB:
            yield (
                f"{path}.resources.limits.memory",
                {"memory": _gib(size), "most": most_gib, "least": least_mib},
            )


@predicate
def gpu_count(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:  # noqa: ARG001
    """Another number of GPUs than one."""
    for unit in units(inputs):
        for path, container in unit.containers:
            value = known(limits(container), _GPU)
            if value is not None and value != "1":
                yield f'{path}.resources.limits["{_GPU}"]', {"value": value}


@predicate
def gpu_containers(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:  # noqa: ARG001
    """A GPU without an accelerator, an accelerator without a GPU, or a GPU for two containers."""
    for unit in units(inputs):
        holders = [path for path, container in unit.containers if _GPU in limits(container)]
        wanted = 1 if unit.accelerator else 0
        if len(holders) != wanted and not unit.accelerator_unknown:
            yield unit.path, {"containers": len(holders), "accelerator": unit.accelerator or "none"}


@predicate
def gpu_starved(
    cloud: Cloud,  # noqa: ARG001
    inputs: Properties,
    accelerator: str,
    cpu: int,
    gib: int,
) -> Iterator[Finding]:
    """A container that has a GPU and too few CPUs or too little memory for it."""
    for unit in units(inputs):
        for path, container in unit.containers if unit.accelerator == accelerator else []:
            count, size = cpus(container), memory(container)
            if _GPU in limits(container) and (
                (count is not None and count < cpu) or (size is not None and size < gib * _GIB)
            ):
                yield (
                    f"{path}.resources.limits",
                    {"cpu": cpu, "memory": f"{gib} GiB", "accelerator": accelerator},
                )


@predicate
def gpu_billed_by_request(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:  # noqa: ARG001
    """A GPU whose CPU is taken away between requests."""
    for unit in units(inputs):
        for path, container in unit.containers if unit.accelerator else []:
            if _GPU in limits(container) and container["resources"].get("cpuIdle") is True:
                yield f"{path}.resources.cpuIdle", {}


@predicate
def gpu_region(cloud: Cloud, inputs: Properties, accelerator: str, regions: list[str]) -> Iterator[Finding]:  # noqa: ARG001
    """A region that does not have the accelerator."""
    location = known(inputs, "location")
    for unit in units(inputs):
        if location is not None and unit.accelerator == accelerator and location not in regions:
            yield "location", {"value": location, "accelerator": accelerator, "regions": ", ".join(regions)}


@predicate
def gpu_job_timeout(cloud: Cloud, inputs: Properties, seconds: int) -> Iterator[Finding]:  # noqa: ARG001
    """A job with a GPU that may run longer than that."""
    for unit in units(inputs):
        found = re.fullmatch(r"(\d+(?:\.\d+)?)s", str(known(unit.template, "timeout") or ""))
        if unit.accelerator and found and float(found[1]) > seconds:
            yield f"{unit.path}.timeout", {"value": found[0], "most": seconds}


@predicate
def timeout_wrong(cloud: Cloud, inputs: Properties, path: str, most: int) -> Iterator[Finding]:  # noqa: ARG001
    """A timeout that is no duration, or outside of 0 to `most` seconds."""
    for unit in units(inputs):
        value = known(unit.template, "timeout")
        if unit.path != path or value is None:
            continue
        found = re.fullmatch(r"(\d+(?:\.\d{1,9})?)s", value)
        if found is None or not 0 < float(found[1]) <= most:
            yield f"{path}.timeout", {"value": value, "most": most}


@predicate
def scaling_reversed(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:  # noqa: ARG001
    """More instances at least than at most."""
    for unit in units(inputs):
        scaling = known(unit.template, "scaling")
        least, most = known(scaling, "minInstanceCount") or 0, known(scaling, "maxInstanceCount") or 100
        if least > most:
            yield f"{unit.path}.scaling", {"least": least, "most": most}


@predicate
def mount_unresolved(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:  # noqa: ARG001
    """A volume mount that names no volume."""
    for unit in units(inputs):
        volumes = unit.template.get("volumes") or []
        if volumes is UNKNOWN or any(known(volume, "name") is None for volume in volumes):
            continue
        names = {volume["name"] for volume in volumes}
        for path, container in unit.containers:
            for index, mount in enumerate(known(container, "volumeMounts") or []):
                name = known(mount, "name")
                if name is not None and name not in names:
                    yield f"{path}.volumeMounts[{index}].name", {"value": name}


@predicate
def bucket_mount_on_gen1(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:  # noqa: ARG001
    """A mounted bucket in the first execution environment."""
    for unit in units(inputs):
        volumes = known(unit.template, "volumes") or []
        mounted = any(known(volume, "gcs") is not None for volume in volumes)
        if mounted and known(unit.template, "executionEnvironment") == "EXECUTION_ENVIRONMENT_GEN1":
            yield f"{unit.path}.executionEnvironment", {}
