"""Startup probes of Cloud Run, against a container on loopback.

The window is the one that the record allows (delay + period x threshold); within it the probe asks more often
than once in a period, so that a rehearsal does not wait for nothing.
https://cloud.google.com/run/docs/configuring/healthchecks
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from rehearsal.runner import StartError

_SLICE_SECONDS = 0.1
_DEFAULT: Mapping[str, Any] = {
    "tcpSocket": {},
    "periodSeconds": 240,
    "timeoutSeconds": 240,
    "failureThreshold": 1,
}


@dataclass(frozen=True, slots=True)
class Probe:
    """A startup probe; times in seconds."""

    path: str | None
    """Path of an HTTP probe; None: a TCP connection is enough."""
    headers: Mapping[str, str]
    delay: int
    window: int
    timeout: int

    @classmethod
    def of(cls, container: Mapping[str, Any]) -> Probe:
        """The probe of a container record, or Cloud Run's default.

        Raises:
            StartError: a gRPC probe.
        """
        given = container.get("startupProbe") or _DEFAULT
        if "grpc" in given:
            raise StartError("startup probe: a rehearsed cloud knows httpGet and tcpSocket probes, not grpc")
        http = given.get("httpGet")
        return cls(
            path=None if http is None else http.get("path") or "/",
            headers={h["name"]: h.get("value", "") for h in (http or {}).get("httpHeaders") or []},
            delay=given.get("initialDelaySeconds") or 0,
            window=(given.get("periodSeconds") or 10) * (given.get("failureThreshold") or 3),
            timeout=given.get("timeoutSeconds") or 1,
        )


async def wait_started(
    probe: Probe, port: int, exit_code: Callable[[], int | None], limit: float
) -> str | None:
    """Wait until the probe passes.

    Args:
        probe: what to ask.
        port: where the container listens.
        exit_code: the container's exit code, None while it runs.
        limit: seconds after which the caller gives up, whatever the probe allows.

    Returns:
        None when it passed, else why it did not.
    """
    begin = time.monotonic()
    window = min(probe.delay + probe.window, limit)
    last = "nothing listens"
    async with httpx.AsyncClient(timeout=probe.timeout, trust_env=False) as client:
        while (passed := time.monotonic() - begin) < window:
            code = exit_code()
            if code is not None:
                return f"Container called exit({code})."
            if passed >= probe.delay:
                answer = await (_tcp(port, probe) if probe.path is None else _http(client, port, probe))
                if answer is None:
                    return None
                last = answer
            await asyncio.sleep(_SLICE_SECONDS)
    kind = "TCP" if probe.path is None else f"HTTP GET {probe.path}"
    return (
        "The user-provided container failed to start and listen on the port defined provided by the PORT "
        f"environment variable within the allocated timeout of {window:g} s ({kind}: {last})."
    )


async def _http(client: httpx.AsyncClient, port: int, probe: Probe) -> str | None:
    try:
        response = await client.get(f"http://127.0.0.1:{port}{probe.path}", headers=dict(probe.headers))
    except httpx.HTTPError as error:
        return str(error) or type(error).__name__
    return None if response.status_code < httpx.codes.BAD_REQUEST else f"HTTP {response.status_code}"


async def _tcp(port: int, probe: Probe) -> str | None:
    try:
        async with asyncio.timeout(probe.timeout):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError as error:
        return error.strerror or type(error).__name__
    writer.close()
    return None
