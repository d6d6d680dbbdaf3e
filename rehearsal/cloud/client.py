"""Starts the cloud process of a rehearsal when it does not run, and asks it to do things."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from rehearsal.cloud.tokens import local_secret
from rehearsal.detached import locked, start_detached
from rehearsal.runner.process import same_process
from rehearsal.runner.types import tail

START_SECONDS = 60.0
_POLL_SECONDS = 0.05
_LOG_FILE = "cloud.log"


class CloudError(Exception):
    """The cloud process cannot be started or reached, or refuses; one line for a person."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a service's roll ended."""

    ready: bool
    uri: str
    message: str


def ensure_running(folder: Path) -> str:
    """The base URL of the folder's cloud process, started first if it does not run.

    Args:
        folder: the world's folder.

    Raises:
        CloudError: it does not start; the message has the end of its log.
    """
    folder = folder.resolve()
    with locked(folder / "cloud.lock"):
        found = running(folder)
        if found is not None:
            return found
        before = _port(folder)
        process = start_detached(folder, folder / _LOG_FILE, "rehearsal.cloud", "--folder", str(folder))
        deadline = time.monotonic() + START_SECONDS
        while (found := running(folder)) is None:
            if process.poll() is not None or time.monotonic() > deadline:
                said = " | ".join(tail(folder / _LOG_FILE, 3))
                raise CloudError(f"the rehearsed cloud of {folder} does not start: {said}")
            time.sleep(_POLL_SECONDS)
    if before not in (None, _port(folder)):
        sys.stderr.write(
            f"port {before} is taken by another program: the rehearsed cloud listens on {found} now; "
            'run `eval "$(llmstack env STACK)"` again in shells that use it\n'
        )
    return found


def alive(folder: Path) -> bool:
    """Whether the folder's cloud process runs; it is not asked, which would keep it from ending."""
    return _state(folder) is not None


def running(folder: Path) -> str | None:
    """The base URL of the folder's cloud process if it runs and answers."""
    state = _state(folder)
    if state is None:
        return None
    base_url = f"http://127.0.0.1:{state['port']}"
    try:
        status = CloudClient(base_url, folder).status()
    except CloudError:
        return None
    return base_url if status["folder"] == str(folder) else None


def _state(folder: Path) -> dict[str, Any] | None:
    """What the cloud process says about itself, if it runs."""
    try:
        state: dict[str, Any] = json.loads((folder / "cloud.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return state if same_process(state["pid"], state["started"]) is not None else None


class CloudClient:
    """Asks a cloud process.

    Args:
        base_url: what `ensure_running` returned.
        folder: the world's folder; by default the one that LLMSTACK_REHEARSAL names.
    """

    def __init__(self, base_url: str, folder: Path | None = None) -> None:
        self._base_url = base_url
        self._folder = folder if folder is not None else Path(os.environ["LLMSTACK_REHEARSAL"])

    def reconcile_service(self, name: str, timeout: float = 600.0) -> Outcome:
        """Start or roll the container of a `run.service` record and wait for its startup probe.

        Args:
            name: full name of the record.
            timeout: seconds to wait for the probe at most.
        """
        answer = self._ask("reconcile", {"name": name, "timeout": timeout}, None)
        return Outcome(**answer)

    def remove_service(self, name: str) -> None:
        """Stop the containers of a service and forget them; returns when they have gone."""
        self._ask("remove", {"name": name})

    def cancel_executions(self, job: str) -> int:
        """Stop the executions of a job that run; returns how many there were."""
        return int(self._ask("cancel", {"name": job})["cancelled"])

    def status(self) -> dict[str, Any]:
        """What runs: `folder`, `pid`, `services`, `executions`."""
        return self._ask("status", {}, 5.0)

    def shutdown(self) -> None:
        """Stop every container and the process; returns at once."""
        self._ask("shutdown", {})

    def _ask(self, action: str, body: dict[str, Any], timeout: float | None = 120.0) -> dict[str, Any]:
        try:
            response = httpx.post(
                f"{self._base_url}/rehearsal/v1/{action}",
                json=body,
                headers={"x-llmstack-secret": local_secret(self._folder)},
                timeout=timeout,
                trust_env=False,
            )
        except httpx.HTTPError as error:
            raise CloudError(f"the rehearsed cloud at {self._base_url} does not answer: {error}") from error
        answer: dict[str, Any] = response.json()
        if response.is_error:
            raise CloudError(f"the rehearsed cloud refuses {action}: {answer['error']['message']}")
        return answer


def _port(folder: Path) -> int | None:
    """The port that the credentials of earlier shells name."""
    try:
        credentials = json.loads((folder / "adc.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return urlsplit(str(credentials["token_uri"])).port
