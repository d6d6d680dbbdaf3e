"""Predicates about Cloud Run's health checks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from providers.base.values import Properties
from rehearsal.standins.gcp.rules_common import known
from rehearsal.standins.gcp.rules_run import Unit, units
from rehearsal.standins.model import Cloud
from rehearsal.standins.refusals import Finding, predicate

_KINDS = ("startupProbe", "livenessProbe", "readinessProbe")
_PERIOD, _TIMEOUT, _FAILURES = 10, 1, 3
"""Google's defaults, in seconds and tries."""
_SECONDS = ("initialDelaySeconds", "periodSeconds", "timeoutSeconds")
_LEAST = {"initialDelaySeconds": 0, "periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 1}


def _probes(inputs: Properties) -> Iterator[tuple[Unit, str, str, dict[str, Any]]]:
    for unit in units(inputs):
        for path, container in unit.containers:
            for kind in _KINDS:
                probe = known(container, kind)
                if isinstance(probe, dict):
                    yield unit, kind, f"{path}.{kind}", probe


@predicate
def startup_window(cloud: Cloud, inputs: Properties, seconds: int, gpu_seconds: int) -> Iterator[Finding]:  # noqa: ARG001
    """A startup probe that may go on for longer than Google waits."""
    for unit, kind, path, probe in _probes(inputs):
        if kind != "startupProbe" or unit.accelerator_unknown:
            continue
        period, failures = (
            known(probe, "periodSeconds") or _PERIOD,
            known(probe, "failureThreshold") or _FAILURES,
        )
        most = gpu_seconds if unit.accelerator else seconds
        if period * failures > most:
            yield path, {"window": period * failures, "most": most}


@predicate
def startup_field(cloud: Cloud, inputs: Properties, seconds: int) -> Iterator[Finding]:  # noqa: ARG001
    """One field of a startup probe above the older documented limit."""
    for _, kind, path, probe in _probes(inputs):
        for name in _SECONDS if kind == "startupProbe" else ():
            value = known(probe, name)
            if value is not None and value > seconds:
                yield f"{path}.{name}", {"value": value, "most": seconds}


@predicate
def probe_timeout(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:  # noqa: ARG001
    """A probe that waits longer for an answer than until the next try."""
    for _, _, path, probe in _probes(inputs):
        timeout, period = known(probe, "timeoutSeconds") or _TIMEOUT, known(probe, "periodSeconds") or _PERIOD
        if timeout > period:
            yield f"{path}.timeoutSeconds", {"timeout": timeout, "period": period}


@predicate
def probe_handlers(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:  # noqa: ARG001
    """A probe with several ways of asking, or with none."""
    for _, _, path, probe in _probes(inputs):
        given = [name for name in ("httpGet", "tcpSocket", "grpc") if probe.get(name) is not None]
        if len(given) != 1:
            yield path, {"given": " and ".join(given) or "none"}


@predicate
def liveness_field(cloud: Cloud, inputs: Properties, seconds: int) -> Iterator[Finding]:  # noqa: ARG001
    """One field of a liveness probe above its limit."""
    for _, kind, path, probe in _probes(inputs):
        for name in _SECONDS if kind == "livenessProbe" else ():
            value = known(probe, name)
            if value is not None and value > seconds:
                yield f"{path}.{name}", {"value": value, "most": seconds}


@predicate
def probe_minimum(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:  # noqa: ARG001
    """A number of a probe below its least value."""
    for _, _, path, probe in _probes(inputs):
        for name, least in _LEAST.items():
            value = known(probe, name)
            if value is not None and value < least:
                yield f"{path}.{name}", {"value": value, "least": least}


@predicate
def startup_probe_missing(cloud: Cloud, inputs: Properties) -> Iterator[Finding]:  # noqa: ARG001
    """A container that mounts something and leaves its start to the default probe."""
    for unit in units(inputs):
        for path, container in unit.containers:
            if container.get("volumeMounts") and container.get("startupProbe") is None:
                yield path, {}
