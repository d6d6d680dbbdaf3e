"""Startup probes of Cloud Run and Vertex AI, against a container on loopback.

The window is the one that the record allows (delay + period x threshold); within it the probe asks more often
than once in a period, so that a rehearsal does not wait for nothing.
https://cloud.google.com/run/docs/configuring/healthchecks
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import httpx

from rehearsal.runner import StartError

_SLICE_SECONDS = 0.1
_COMMAND_SLICE_SECONDS = 1.0
"""A command is a process, and takes from what it asks about."""
_DEFAULT: Mapping[str, Any] = {
    "tcpSocket": {},
    "periodSeconds": 240,
    "timeoutSeconds": 240,
    "failureThreshold": 1,
}


@dataclass(frozen=True, slots=True)
class Probe:
    """A startup probe; times in seconds."""

    command: tuple[str, ...]
    """Has to succeed in the container, before the path if there is one; Vertex AI alone knows such."""
    path: str | None
    """Path of an HTTP probe; None: the command, or else a TCP connection, is enough."""
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
            command=tuple((given.get("exec") or {}).get("command") or ()),
            path=None if http is None else http.get("path") or "/",
            headers={h["name"]: h.get("value", "") for h in (http or {}).get("httpHeaders") or []},
            delay=given.get("initialDelaySeconds") or 0,
            window=(given.get("periodSeconds") or 10) * (given.get("failureThreshold") or 3),
            timeout=given.get("timeoutSeconds") or 1,
        )


class Probed(Protocol):
    """The container that a probe looks at."""

    def poll(self) -> int | None:
        """Its exit code, None while it runs."""

    def execute(self, command: Sequence[str], timeout: float) -> str | None:
        """Run a command in it: None when it succeeds, else what it said."""


async def wait_started(probe: Probe, port: int, container: Probed, limit: float) -> str | None:
    """Wait until the probe passes.

    Args:
        probe: what to ask.
        port: where the container listens.
        container: whether it runs, and where a command does.
        limit: seconds after which the caller gives up, whatever the probe allows.

    Returns:
        None when it passed, else why it did not.
    """
    begin = time.monotonic()
    window = min(probe.delay + probe.window, limit)
    last = "nothing listens"
    async with httpx.AsyncClient(timeout=probe.timeout, trust_env=False) as client:
        while (passed := time.monotonic() - begin) < window:
            code = container.poll()
            if code is not None:
                return f"Container called exit({code})."
            if passed >= probe.delay:
                answer = await _ask(probe, client, port, container)
                if answer is None:
                    return None
                last = answer
            await asyncio.sleep(_COMMAND_SLICE_SECONDS if probe.command else _SLICE_SECONDS)
    kind = "TCP" if probe.path is None else f"HTTP GET {probe.path}"
    if probe.command:
        kind = " ".join(probe.command)
    return (
        "The user-provided container failed to start and listen on the port defined provided by the PORT "
        f"environment variable within the allocated timeout of {window:g} s ({kind}: {last})."
    )


async def _ask(probe: Probe, client: httpx.AsyncClient, port: int, container: Probed) -> str | None:
    """None when the probe passes, else why not."""
    if probe.command:
        failure = await asyncio.to_thread(container.execute, probe.command, probe.timeout)
        if failure is not None or probe.path is None:
            return failure
    return await (_tcp(port, probe) if probe.path is None else _http(client, port, probe))


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
