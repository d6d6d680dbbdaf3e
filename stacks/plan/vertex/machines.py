"""Which machine with which GPUs, where: what Vertex AI serves with, and what it does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stacks.config_errors import suggest
from stacks.plan.hardware import (
    Accelerator,
    ComputeMachine,
    accelerators,
    compute_machines,
    region_of,
    tpu_machines,
    zones,
)
from stacks.plan.report import Report
from stacks.plan.sizing.serving import cpu_machines, gpu_places
from stacks.plan.vertex.facts import serving_facts

if TYPE_CHECKING:
    from stacks.config_vertex import VertexMachine

_N1 = ("n1-standard", "n1-highmem")
"""Families whose machines take GPUs that they do not always have."""
_UNKNOWN_PRICE = float("inf")


@dataclass(frozen=True, slots=True)
class Replica:
    """A machine, or with fewer GPUs than it has the part of one that belongs to a replica."""

    machine: ComputeMachine
    gpu: Accelerator | None = None
    count: int = 0

    @property
    def parts(self) -> int:
        """Replicas that share one machine.

        With at most half of the machine's GPUs, Vertex AI puts several replicas on it, and divides its CPUs
        and memory among them (discovery document, MachineSpec.acceleratorCount).
        """
        return max(self.machine.accelerator_count // self.count, 1) if self.count else 1

    @property
    def memory_bytes(self) -> int:
        """What it has of the machine's memory."""
        return self.machine.memory_bytes // self.parts

    @property
    def cpus(self) -> int:
        """What it has of the machine's CPUs."""
        return max(self.machine.cpus // self.parts, 1)

    @property
    def attached(self) -> Accelerator | None:
        """The GPU where the machine does not always have it, and it has a price of its own."""
        return None if self.machine.accelerator is not None else self.gpu

    @property
    def machine_usd(self) -> float | None:
        """List price of the whole machine with its GPUs on demand in us-central1; None where it is not known.

        Vertex AI's own share is not in it.
        """
        own = self.machine.hourly_usd
        if own is None:
            return None
        if self.attached is None:
            return own.value
        each = serving_facts().gpu_hourly_usd.value.get(self.attached.name)
        return None if each is None else own.value + self.count * each

    @property
    def price_confirmed(self) -> bool:
        """Whether every part of that price is."""
        own = self.machine.hourly_usd
        attached = self.attached is None or serving_facts().gpu_hourly_usd.confirmed
        return own is not None and own.confirmed and attached

    @property
    def price(self) -> float:
        """The price for a comparison: what has none costs most."""
        return _UNKNOWN_PRICE if self.machine_usd is None else self.machine_usd

    @property
    def whole(self) -> str:
        """The machine that it needs, with all that is paid for."""
        return self.machine.name if self.attached is None else str(self)

    def __str__(self) -> str:
        return f"{self.machine.name}, {self.count} {self.gpu.name}" if self.gpu else self.machine.name


def gpu_counts(machine: ComputeMachine, gpu: str) -> Sequence[int]:
    """Lists how many GPUs of a kind a replica on a machine may have; none where they do not go together."""
    if machine.accelerator is not None:
        return range(1, machine.accelerator_count + 1) if machine.accelerator == gpu else ()
    counts = accelerators()[gpu].n1_counts
    return counts.value.get(machine.cpus, []) if counts and machine.family in _N1 else ()


def accelerator_of(wanted: VertexMachine) -> str | None:
    """Names the GPU of a machine: the one that was asked for, or that its type always has."""
    machine = compute_machines().get(wanted.type or "")
    return wanted.accelerator or (machine.accelerator if machine else None)


def cheapest_first(gpu: str | None) -> tuple[Replica, ...]:
    """Lists what a replica may run on where no machine type was named, with one GPU or none.

    Args:
        gpu: a GPU's name in Compute Engine.
    """
    if gpu is None:
        found = [Replica(machine) for machine in cpu_machines()]
    else:
        places = [place for place in gpu_places(gpu) if place.machine.accelerator or place.count == 1]
        found = [Replica(place.machine, place.gpu, 1) for place in places]
    return tuple(sorted(found, key=lambda one: (one.price, one.memory_bytes, one.machine.name)))


def named(wanted: VertexMachine, path: str, report: Report) -> Replica | None:
    """Gives the machine type that was named, and reports what Vertex AI would refuse of it.

    Args:
        wanted: the deployment's `machine`, with a type.
        path: path of that in the stack file.
        report: receives what is wrong.
    """
    machine = compute_machines().get(wanted.type or "")
    if machine is None or not machine.vertex_serving:
        known = [name for name, one in compute_machines().items() if one.vertex_serving]
        if wanted.type in tpu_machines():
            report.problem(
                f"{path}.type",
                wanted.type,
                "has TPUs, which no container of topology vertex computes on",
                "write a machine type with GPUs, or topology: gke-tpu",
            )
            return None
        reason = "is no machine type that Vertex AI serves with"
        report.problem(f"{path}.type", wanted.type, reason, suggest(wanted.type or "", known))
        return None
    if machine.spot_only and not wanted.spot:
        report.problem(
            f"{path}.type",
            machine.name,
            "is to be had as spot alone",
            "write spot: true, or a larger machine of its family",
        )
    if machine.accelerator is not None:
        return _with_own_gpus(machine, machine.accelerator, wanted, path, report)
    if wanted.accelerator is not None:
        return _with_attached_gpus(machine, wanted.accelerator, wanted.count or 1, path, report)
    if wanted.count is not None:
        report.problem(
            f"{path}.count", wanted.count, f"counts GPUs, and {machine.name} has none", "leave it out"
        )
    return Replica(machine)


def _with_own_gpus(
    machine: ComputeMachine, own: str, wanted: VertexMachine, path: str, report: Report
) -> Replica | None:
    if wanted.accelerator not in (None, own):
        report.problem(
            f"{path}.accelerator",
            wanted.accelerator,
            f"does not go with {machine.name}, which has {own}",
            f"leave it out, or write {_types(str(wanted.accelerator))}",
        )
        return None
    count = wanted.count or 1
    if count > machine.accelerator_count:
        report.problem(
            f"{path}.count",
            count,
            f"is more than the {machine.accelerator_count} {own} of {machine.name}",
            f"write at most {machine.accelerator_count}",
        )
        return None
    return Replica(machine, accelerators()[own], count)


def _with_attached_gpus(
    machine: ComputeMachine, gpu: str, count: int, path: str, report: Report
) -> Replica | None:
    able = gpu_counts(machine, gpu)
    if not able:
        report.problem(
            f"{path}.accelerator",
            gpu,
            f"cannot be had with {machine.name}",
            f"leave it out, or write {_types(gpu)}",
        )
        return None
    if count not in able:
        report.problem(
            f"{path}.count",
            count,
            f"is no number of {gpu} that {machine.name} takes",
            f"write {' or '.join(map(str, able))}",
        )
        return None
    return Replica(machine, accelerators()[gpu], count)


def _types(gpu: str) -> str:
    """Says which machine types have, or take, a GPU: the smallest ones."""
    names = list(dict.fromkeys(place.machine.name for place in gpu_places(gpu)))
    return f"type: {' or '.join(names[:3])}" if names else "another accelerator"


def check_region(replica: Replica, region: str, path: str, report: Report) -> None:
    """Warns of a region that is not known to have the machine or its GPU; no list is certain.

    Args:
        replica: what was chosen.
        region: the stack's.
        path: path of the machine in the stack file.
        report: receives the warning.
    """
    gpu = replica.gpu
    kind = replica.machine.family if gpu is None or replica.machine.accelerator else gpu.name
    listed = zones(kind)
    if listed is None:
        return
    offered = _regions(listed.value)
    if region not in offered:
        report.warn(
            f"{path}: {replica} is not known to be in {region} (unconfirmed); known: {', '.join(offered)}"
        )


def _regions(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted({region_of(name) for name in names}))
