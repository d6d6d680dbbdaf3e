"""What Google has to compute with: machines, GPUs, TPUs, where they are, and which engine runs on what.

Every table lies in `data/`, each entry with its source and certainty. Memory is in bytes: a machine's "GB" is
2³⁰ bytes, as the Compute API counts; an accelerator's is 10⁹, since drivers keep part of what is advertised.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import Field

from stacks.plan.facts import Fact, Memory, Sourced, read_table
from stacks.plan.spec import ModelSpec, Strict

Count = Annotated[int, Field(ge=1)]
Names = Annotated[tuple[str, ...], Field(strict=False)]
Counts = Annotated[tuple[int, ...], Field(strict=False)]

_MULTI_HOST_CHIPS = 4
"""Chips of the only machine types that make slices of several hosts."""

_ZONE = re.compile(r"([a-z]+-[a-z]+\d+)-[a-z]")


class ComputeMachine(Sourced):
    """A machine type of Compute Engine, which Vertex AI, Dataflow and GKE offer too.

    `accelerator` and `accelerator_count` are what the type always has. `local_ssds` are the numbers of
    scratch disks that may be asked for: none where the type brings its own. `hourly_usd` is the list price
    on demand in us-central1, GPUs included.
    """

    name: str
    family: str
    cpus: Count
    memory_bytes: Memory
    accelerator: str | None = None
    accelerator_count: Annotated[int, Field(ge=0)] = 0
    boot_disks: Names
    local_ssds: Counts = ()
    spot_only: bool = False
    """Whether it can be had as Spot or Flex-start alone."""
    vertex_training: bool = False
    vertex_serving: bool = False
    hourly_usd: Fact[float] | None = None


class Accelerator(Sourced):
    """A GPU: its name in Compute Engine, its own memory, and its name in Vertex AI where it has one.

    `n1_counts` is for a GPU that an N1 machine takes: how many, by the machine's number of CPUs.
    """

    name: str
    memory_bytes: Count
    vertex_name: str | None = None
    n1_counts: Fact[dict[int, list[int]]] | None = None


class TpuChip(Sourced):
    """One generation of TPU, by chip: memory in bytes, bandwidth in bytes and speed in FLOP per second."""

    name: str
    hbm_bytes: Count
    hbm_bytes_per_second: Count | None = None
    bf16_flops: Count | None = None


class TpuMachine(Sourced):
    """A machine type with TPU chips. `hourly_usd` is the list price on demand in the US."""

    name: str
    accelerator: Literal["v5e", "v6e"]
    chips: Count
    cpus: Count
    memory_bytes: Memory
    single_host_topology: str
    gke_label: str
    boot_disks: Names
    hourly_usd: Fact[float] | None = None


class TpuSlice(Strict):
    """Chips wired together: `hosts` machines that make one topology.

    A multi-host slice needs an engine whose processes on all hosts work together.
    """

    accelerator: str
    topology: str
    chips: int
    machine: str
    hosts: int

    @property
    def multi_host(self) -> bool:
        """Whether the slice spans machines."""
        return self.hosts > 1


class Region(Strict):
    """A region and the zones that Compute Engine has in it."""

    name: str
    zones: Names
    cloud_run: bool


class Engine(Sourced):
    """Software that runs models, what it takes, and whether this version builds deployments with it.

    Its certainty is that of the families and kinds it takes: an unconfirmed one only warns.
    """

    name: str
    families: Names
    kinds: Names
    devices: Names
    formats: Names
    """What it reads the weights from."""
    dtypes: Names
    """Element types that it computes with."""
    topologies: Names
    built: bool
    maintained: bool
    untried: Names = ()
    """Devices that this project has not run it on."""
    note: str

    def takes(self, model: ModelSpec) -> bool:
        """Whether the engine runs models of this family and kind."""
        return model.family in self.families and model.architecture.kind in self.kinds


TOPOLOGIES = ("cloud-run", "vertex", "dataflow", "training", "gke-tpu")
"""Every topology that has a name."""

BUILT_TOPOLOGIES = ("cloud-run", "vertex", "gke-tpu")
"""Topologies that this version builds."""


@cache
def compute_machines() -> Mapping[str, ComputeMachine]:
    """Reads the machine types of Compute Engine, by name."""
    found = {}
    for family, table in {**read_table("machines"), **read_table("gpu_machines")}.items():
        price = table.pop("price", None)
        for name, entry in table.pop("machines").items():
            found[name] = ComputeMachine.model_validate(
                {"name": name, "family": family, **table, **_priced(entry, price)}
            )
    return MappingProxyType(found)


@cache
def accelerators() -> Mapping[str, Accelerator]:
    """Reads the GPUs, by their names in Compute Engine."""
    table = read_table("accelerators")
    return MappingProxyType(
        {name: Accelerator.model_validate({"name": name, **entry}) for name, entry in table.items()}
    )


@cache
def tpu_chips() -> Mapping[str, TpuChip]:
    """Reads the generations of TPU: `v5e`, `v6e`."""
    table = read_table("tpus")["chips"]
    return MappingProxyType(
        {name: TpuChip.model_validate({"name": name, **entry}) for name, entry in table.items()}
    )


@cache
def tpu_machines() -> Mapping[str, TpuMachine]:
    """Reads the machine types with TPU chips, by name."""
    found = {}
    for table in read_table("tpus")["machines"].values():
        price = table.pop("price", None)
        for name, entry in table.pop("machines").items():
            found[name] = TpuMachine.model_validate({"name": name, **table, **_priced(entry, price)})
    return MappingProxyType(found)


@cache
def tpu_topologies(accelerator: str) -> tuple[str, ...]:
    """Lists the topologies of a generation of TPU, smallest first.

    Raises:
        KeyError: there is no such generation.
    """
    return tuple(read_table("tpus")["topologies"][accelerator]["value"])


@cache
def tpu_slices(accelerator: str) -> tuple[TpuSlice, ...]:
    """Lists the slices of a generation of TPU, smallest first, those on one host before the others.

    A machine whose own topology is the slice's makes it alone; else machines of four chips make it together
    (cloud.google.com/kubernetes-engine/docs/concepts/tpus).

    Raises:
        KeyError: there is no such generation.
    """
    machines = [machine for machine in tpu_machines().values() if machine.accelerator == accelerator]
    found = [
        TpuSlice(
            accelerator=accelerator,
            topology=topology,
            chips=chips_of(topology),
            machine=machine.name,
            hosts=hosts,
        )
        for topology in tpu_topologies(accelerator)
        for machine in machines
        if (hosts := _hosts(topology, machine))
    ]
    return tuple(sorted(found, key=lambda one: (one.chips, one.hosts)))


def chips_of(topology: str) -> int:
    """Multiplies a topology out: `2x4` has 8 chips."""
    return math.prod(int(side) for side in topology.split("x"))


def _hosts(topology: str, machine: TpuMachine) -> int:
    """Counts the machines of one type that make a topology; none where they cannot."""
    if machine.single_host_topology == topology:
        return 1
    hosts, rest = divmod(chips_of(topology), machine.chips)
    return hosts if machine.chips == _MULTI_HOST_CHIPS and not rest and hosts > 1 else 0


@cache
def regions() -> Mapping[str, Region]:
    """Reads Google's regions; unconfirmed, so that an unknown one is worth a warning and no error."""
    table = read_table("regions")
    cloud_run = set(table["cloudRun"]["value"])
    found = {}
    for name, letters in table["compute"]["value"].items():
        zones_of = [f"{name}-{letter}" for letter in letters]
        found[name] = Region.model_validate({"name": name, "zones": zones_of, "cloudRun": name in cloud_run})
    return MappingProxyType(found)


@cache
def _zones() -> Mapping[str, Fact[list[str]]]:
    return {kind: Fact[list[str]].model_validate(entry) for kind, entry in read_table("zones").items()}


def zones(kind: str) -> Fact[list[str]] | None:
    """Gives the zones that have a machine family (`a2-highgpu`) or a generation of TPU (`v5e`).

    None where the table does not say: general-purpose machines are nearly everywhere.
    """
    return _zones().get(kind)


def region_of(zone: str) -> str:
    """Gives the region of a zone: `us-central1` for `us-central1-a`.

    Raises:
        ValueError: that is not a zone's name.
    """
    match = _ZONE.fullmatch(zone)
    if match is None:
        raise ValueError(f"{zone} is not a zone: a zone is a region, a hyphen and a letter")
    return match[1]


def is_zone_of(zone: str, region: str) -> bool:
    """Whether a name is that of a zone in a region."""
    match = _ZONE.fullmatch(zone)
    return match is not None and match[1] == region


@cache
def engines() -> Mapping[str, Engine]:
    """Reads the serving engines, by name."""
    table = read_table("engines")
    return MappingProxyType(
        {name: Engine.model_validate({"name": name, **entry}) for name, entry in table.items()}
    )


def engines_for(model: ModelSpec, topology: str | None = None) -> tuple[Engine, ...]:
    """Lists the engines that take a model, built or not.

    Args:
        model: what is to run.
        topology: only engines of this topology.
    """
    return tuple(
        engine
        for engine in engines().values()
        if engine.takes(model) and (topology is None or topology in engine.topologies)
    )


def _priced(entry: dict[str, Any], price: dict[str, str] | None) -> dict[str, Any]:
    """Puts a price together from a machine's figure and its family's source."""
    if "hourlyUsd" not in entry or not isinstance(entry["hourlyUsd"], float):
        return entry
    return {**entry, "hourlyUsd": {"value": entry["hourlyUsd"], **(price or {})}}
