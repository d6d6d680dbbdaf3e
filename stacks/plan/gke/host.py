"""What a server's pod takes of its host's own memory: the weights pass through it to the TPU."""

from __future__ import annotations

import math
from typing import Final

from stacks.plan.hardware import TpuMachine
from stacks.plan.quantity import GIB

FUSE_OVERHEAD: Final = GIB
"""What the side container that mounts a bucket takes beside its cache. Assumed."""
_CACHE_PERCENT = 105
_PROCESS_BYTES = 4 * GIB
"""Python, its libraries and the TPU's, beside the weights. Assumed."""
_FRONT_BYTES = GIB
"""The container that speaks HTTP for JetStream: its limit."""
_FOR_PODS_PERCENT = 90
"""What of a host's memory pods may ask for, since GKE keeps some for itself. Assumed."""


def cache_bytes(weights_bytes: int) -> int:
    """Gives how much of the host's memory a mount's cache may take, in whole GiB."""
    return math.ceil(weights_bytes * _CACHE_PERCENT / 100 / GIB) * GIB


def server_bytes(weights_bytes: int) -> int:
    """Gives what the server's container asks for of the host's memory, in whole GiB.

    A conversion of the weights' element type holds them twice.
    """
    return -(-(2 * weights_bytes + _PROCESS_BYTES) // GIB) * GIB


def host_bytes(weights_bytes: int, *, mounted: bool) -> int:
    """Gives what all containers of a pod ask for of the host's memory.

    Args:
        weights_bytes: what a start reads.
        mounted: whether it reads them from a mounted bucket, through a cache in memory.
    """
    mount = cache_bytes(weights_bytes) + FUSE_OVERHEAD if mounted else 0
    return server_bytes(weights_bytes) + _FRONT_BYTES + mount


def bytes_for_pods(machine: TpuMachine) -> int:
    """Gives what pods may ask for of a host's memory."""
    return machine.memory_bytes * _FOR_PODS_PERCENT // 100
