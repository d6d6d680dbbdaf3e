"""Startup and liveness probes, from the time that a server takes to load its model."""

from __future__ import annotations

import math

from stacks.plan.limits import cloud_run_limits
from stacks.plan.quantity import MIB
from stacks.plan.types import ProbePlan

MOUNT_BYTES_PER_SECOND = 50 * MIB
"""How fast a bucket mounted in Cloud Run is read. Assumed, on the slow side."""

IMPORT_SECONDS = 20
"""Starting Python and importing torch and transformers on one CPU. Assumed."""

_MARGIN = 3
_SHORTEST_WINDOW = 240
_PERIOD = 10
_TIMEOUT = 5
_LIVENESS_PERIOD = 30
_LIVENESS_FAILURES = 3


def load_seconds(weights_bytes: int) -> int:
    """Estimates the time from start to ready: imports, then reading the weights once."""
    return IMPORT_SECONDS + math.ceil(weights_bytes / MOUNT_BYTES_PER_SECOND)


def longest_window(*, gpu: bool) -> int:
    """Gives the longest time in seconds that Cloud Run lets a container take to start."""
    limits = cloud_run_limits()
    return (limits.startup_window_gpu if gpu else limits.startup_window).value


def startup_probe(path: str, port: int, weights_bytes: int, *, gpu: bool) -> ProbePlan:
    """Allows three times the estimated load time, at least four minutes and at most what Cloud Run allows."""
    window = min(max(_MARGIN * load_seconds(weights_bytes), _SHORTEST_WINDOW), longest_window(gpu=gpu))
    return ProbePlan(
        path=path,
        port=port,
        initial_delay_seconds=0,
        period_seconds=_PERIOD,
        timeout_seconds=_TIMEOUT,
        failure_threshold=math.ceil(window / _PERIOD),
    )


def liveness_probe(path: str, port: int) -> ProbePlan:
    """Restarts a container that answered nothing for a minute and a half."""
    return ProbePlan(
        path=path,
        port=port,
        initial_delay_seconds=0,
        period_seconds=_LIVENESS_PERIOD,
        timeout_seconds=_TIMEOUT,
        failure_threshold=_LIVENESS_FAILURES,
    )
