"""Runs the steps of a load test in one process, on one event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from llmstack.load.arrivals import Length, poisson
from llmstack.load.request import Sender
from llmstack.load.sample import Outcome, Sample

PAUSE_SECONDS = 1.0
"""How long a client of a closed loop waits after a failure where the server does not say: none hammers."""
LAG_SECONDS = 0.02
"""How often the event loop's delay is measured."""


@dataclass
class Measured:
    """What a step brought.

    Args:
        samples: every request that ended, also those of the warm-up.
        begins: when counting began, in seconds from the step's beginning.
        ends: when the measured time was over.
        lags: how late the event loop came to a task that was due, in seconds, again and again.
        cut: whether it was stopped before its end.
    """

    begins: float
    ends: float = 0.0
    samples: list[Sample] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)
    cut: bool = False


class Driver:
    """Runs steps one after the other.

    Args:
        sender: sends the requests.
        length: how long each step goes on.
        stop: once set, the step under way and those after it end at once.
    """

    def __init__(self, sender: Sender, length: Length, stop: asyncio.Event) -> None:
        self._sender = sender
        self._length = length
        self._stop = stop

    async def closed(self, clients: int) -> Measured:
        """A number of clients that each send the next request when the last has been answered."""
        return await self._run(_Closed(self._sender, self._length, clients))

    async def open(self, rate: float, seed: int) -> Measured:
        """Requests that arrive at a rate, whether earlier ones have been answered or not.

        Args:
            rate: requests per second in the mean.
            seed: for the times of arrival.
        """
        return await self._run(_Open(self._sender, self._length, rate, seed))

    async def _run(self, step: _Step) -> Measured:
        measured = step.measured
        everything = asyncio.create_task(step.run())
        stopped = asyncio.create_task(self._stop.wait())
        lagging = asyncio.create_task(_watch_lag(measured.lags))
        try:
            await asyncio.wait({everything, stopped}, return_when=asyncio.FIRST_COMPLETED)
            measured.cut = not everything.done()
        finally:
            for task in (everything, stopped, lagging):
                task.cancel()
            with suppress(asyncio.CancelledError):
                await everything
        measured.ends = self._end(measured, step.clock())
        return measured

    def _end(self, measured: Measured, now: float) -> float:
        if measured.cut:
            return now
        if self._length.seconds is not None:
            return self._length.warm_up + self._length.seconds
        return max((sample.ended for sample in measured.samples), default=now)


class _Step:
    """The state of one step."""

    def __init__(self, sender: Sender, length: Length) -> None:
        self._sender = sender
        self._length = length
        self._began = time.monotonic()
        self.measured = Measured(begins=length.warm_up)

    def clock(self) -> float:
        """Seconds from the beginning."""
        return time.monotonic() - self._began

    def run(self) -> Coroutine[Any, Any, None]:
        """Sends the step's requests and waits for their end."""
        raise NotImplementedError

    async def _send(self, due: float) -> Sample:
        sample = await self._sender.send(due, self.clock)
        self.measured.samples.append(sample)
        return sample


class _Closed(_Step):
    def __init__(self, sender: Sender, length: Length, clients: int) -> None:
        super().__init__(sender, length)
        self._clients = clients
        self._counted = 0

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(self._clients):
                group.create_task(self._client())

    async def _client(self) -> None:
        while self._length.goes_on(now := self.clock(), self._counted):
            self._counted += self._length.counts(now)
            sample = await self._send(now)
            if sample.outcome is not Outcome.ANSWERED:
                await asyncio.sleep(self._pause(sample))

    def _pause(self, sample: Sample) -> float:
        """As long as the server asks, as a good client does, but not beyond the step's end."""
        pause = PAUSE_SECONDS if sample.pause is None else sample.pause
        if self._length.seconds is None:
            return pause
        return max(0.0, min(pause, self._length.warm_up + self._length.seconds - self.clock()))


class _Open(_Step):
    def __init__(self, sender: Sender, length: Length, rate: float, seed: int) -> None:
        super().__init__(sender, length)
        self._arrivals = poisson(rate, length, seed)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for due in self._arrivals:
                await asyncio.sleep(max(0.0, due - self.clock()))
                group.create_task(self._send(due))


async def _watch_lag(lags: list[float]) -> None:
    while True:
        due = time.monotonic() + LAG_SECONDS
        await asyncio.sleep(LAG_SECONDS)
        lags.append(time.monotonic() - due)
