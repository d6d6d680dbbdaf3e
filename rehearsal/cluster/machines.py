"""What a node of a machine type offers, from `rehearsal/data/gke_machines.yaml`."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

_FILE = Path(__file__).parents[1] / "data" / "gke_machines.yaml"
_NAMED = re.compile(r"(?P<family>[a-z]+\d+[a-z]?)-(?P<kind>standard|highmem|highcpu)-(?P<cpu>\d+)")
_EVICTION_GIB = 100 / 1024
"""What a kubelet on GKE keeps free before it evicts pods."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine type.

    Attributes:
        cpu: vCPUs.
        memory: GiB.
        chips: TPU chips; 0 where it has none.
        label: value of `cloud.google.com/gke-tpu-accelerator`; empty without chips.
        single_host: the topology of which it is a whole slice; empty without chips.
        boot_disks: disk types that it takes; empty where any will do.
        kept_cpu: vCPUs that GKE keeps, where that is not a share of them.
    """

    cpu: int
    memory: float
    chips: int = 0
    label: str = ""
    single_host: str = ""
    boot_disks: tuple[str, ...] = ()
    kept_cpu: float | None = None

    @property
    def allocatable_cpu(self) -> float:
        """vCPUs for pods: https://cloud.google.com/kubernetes-engine/docs/concepts/plan-node-sizes"""
        if self.kept_cpu is not None:
            return self.cpu - self.kept_cpu
        return self.cpu - _tiered(self.cpu, ((1, 0.06), (1, 0.01), (2, 0.005), (math.inf, 0.0025)))

    @property
    def allocatable_memory(self) -> float:
        """GiB for pods; same source."""
        kept = _tiered(self.memory, ((4, 0.25), (4, 0.2), (8, 0.1), (112, 0.06), (math.inf, 0.02)))
        return self.memory - kept - _EVICTION_GIB


@cache
def machine(name: str) -> Machine | None:
    """A machine type by its name; None where the table does not know it."""
    table = _table()
    if name in table["tpu"]:
        row = table["tpu"][name]
        return Machine(**{**row, "boot_disks": tuple(row["boot_disks"])})
    if name in table["shared_core"]:
        return Machine(**table["shared_core"][name])
    found = _NAMED.fullmatch(name)
    ratio = table["memory_per_cpu"].get(found["family"], {}).get(found["kind"]) if found else None
    return Machine(int(found["cpu"]), int(found["cpu"]) * ratio) if found and ratio else None


def multi_host_topologies() -> tuple[str, ...]:
    """Topologies of slices that have more than one machine."""
    return tuple(_table()["multi_host"])


def chips_of(topology: str) -> int:
    """How many chips a topology has, for instance 8 for `2x4`.

    Raises:
        ValueError: it is no topology.
    """
    if not re.fullmatch(r"\d+(x\d+)+", topology):
        raise ValueError(f"{topology!r} is no TPU topology")
    return math.prod(map(int, topology.split("x")))


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    return table


def _tiered(amount: float, tiers: Sequence[tuple[float, float]]) -> float:
    """The part of an amount that is kept, where each tier of it is kept at its own rate."""
    kept, left = 0.0, float(amount)
    for size, rate in tiers:
        part = min(left, size)
        kept += part * rate
        left -= part
    return kept
