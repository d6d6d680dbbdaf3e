"""What runs to its end, of whatever API: begun, watched, cancelled, and taken over after a crash."""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod

from rehearsal.cloud.service_unit import GRACE_SECONDS
from rehearsal.cloud.workloads import Facts, Workload, Workloads

_POLL_SECONDS = 0.1
_LOG = logging.getLogger(__name__)


class RunningJobs(ABC):
    """The runs of one kind that run now.

    Args:
        workloads: starts containers.
    """

    def __init__(self, workloads: Workloads) -> None:
        self._workloads = workloads
        self._world = workloads.world
        self._running: dict[str, asyncio.Task[None]] = {}
        self._cancelled: set[str] = set()

    @property
    def busy(self) -> bool:
        """Whether any runs."""
        return bool(self._running)

    def begin(self, name: str, known: list[Facts] | None = None) -> None:
        """Run what is already a record; returns at once.

        Args:
            name: its full name.
            known: workloads that an earlier cloud process started for it; None for a new run.
        """
        task = asyncio.create_task(self._execute(name, known))
        self._running[name] = task
        task.add_done_callback(lambda done: self._finished(name, done))

    def running(self) -> list[str]:
        """The full names of those that run."""
        return list(self._running)

    async def cancel(self, name: str) -> bool:
        """Stop one and wait until it has; False when it does not run."""
        task = self._running.get(name)
        if task is None:
            return False
        self._cancelled.add(name)
        await asyncio.wait([task])
        return True

    async def stop(self) -> None:
        """Cancel everything that runs."""
        await asyncio.gather(*(self.cancel(name) for name in list(self._running)))

    @abstractmethod
    def restore(self, known: list[Facts]) -> None:
        """Go on with what an earlier cloud process left."""

    @abstractmethod
    async def _execute(self, name: str, known: list[Facts] | None) -> None:
        """Run it to its end, and write down how it ended."""

    async def _attempt(self, name: str, workload: Workload, limit: float) -> tuple[int | None, str]:
        """Wait for the end of one attempt: its exit code if it ended by itself, and what went wrong."""
        deadline = workload.facts.created + limit
        while (code := workload.poll()) is None:
            if name in self._cancelled:
                await asyncio.to_thread(workload.terminate, GRACE_SECONDS)
                return None, "cancelled"
            if time.time() > deadline:
                await asyncio.to_thread(workload.terminate, GRACE_SECONDS)
                return None, f"The configured timeout of {limit:g} s was reached."
            await asyncio.sleep(_POLL_SECONDS)
        await asyncio.to_thread(workload.terminate, GRACE_SECONDS)
        return code, "" if code == 0 else f"The container exited with an error (exit code {code})."

    def _finished(self, name: str, task: asyncio.Task[None]) -> None:
        self._running.pop(name, None)
        self._cancelled.discard(name)
        if not task.cancelled() and task.exception() is not None:
            _LOG.error("%s: %s", name, task.exception())
