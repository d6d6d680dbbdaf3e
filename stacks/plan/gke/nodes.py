"""What a node without TPUs leaves to pods, since GKE keeps a part of its memory and of its boot disk.

Source: cloud.google.com/kubernetes-engine/docs/concepts/plan-node-sizes.
"""

from __future__ import annotations

import math
from typing import Final

from stacks.plan.hardware import ComputeMachine, compute_machines
from stacks.plan.quantity import GIB, MIB

DISK_TYPE: Final = "pd-balanced"
DISK_GB: Final = 50
"""Boot disk of a node on which pods write next to nothing."""

_KEPT_MEMORY = ((4, 25), (4, 20), (8, 10), (112, 6), (math.inf, 2))
"""GiB, and how many percent of them GKE keeps; the next entry is for what is above."""
_EVICTION_BYTES = 100 * MIB
_SYSTEM_BYTES = GIB
"""What the cluster's own pods take on each node: collectors, proxies, disks' drivers. Assumed."""
_SYSTEM_DISK_GB = 10
"""The same of the disk, with the images of pods. Assumed."""
_DISK_STEP_GB = 10
_GB = 1_000_000_000


def memory_for_pods(machine: ComputeMachine) -> int:
    """Gives the bytes that one pod may ask for beside the cluster's own."""
    left, kept = machine.memory_bytes / GIB, 0.0
    for size, percent in _KEPT_MEMORY:
        part = min(left, size)
        kept += part * percent / 100
        left -= part
    return machine.memory_bytes - math.ceil(kept * GIB) - _EVICTION_BYTES - _SYSTEM_BYTES


def smallest_machine(memory: int) -> ComputeMachine | None:
    """Gives the cheapest machine without GPU that leaves a pod so many bytes of memory; None without one."""
    fitting = [
        each
        for each in compute_machines().values()
        if not each.accelerator and DISK_TYPE in each.boot_disks and memory_for_pods(each) >= memory
    ]
    return min(fitting, key=_price, default=None)


def boot_disk_gb(scratch: int) -> int:
    """Gives the size of a boot disk on which a pod may write so many bytes."""
    need = scratch / _GB + _SYSTEM_DISK_GB
    size = DISK_GB
    while _disk_for_pods(size) < need:
        size += _DISK_STEP_GB
    return size


def _disk_for_pods(size: int) -> float:
    return size * 0.9 - min(size * 0.5, size * 0.35 + 6, 100)


def _price(machine: ComputeMachine) -> tuple[float, int]:
    price = machine.hourly_usd.value if machine.hourly_usd is not None else math.inf
    return price, machine.memory_bytes
