"""Between the HTTP side, which is asynchronous, and the engine, which has a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict

from serve.engine import Engine, ModelInfo, WorkQueue
from serve.errors import ApiError
from serve.generation import Event, Failed, Finished, Generation, Sampling

LOG = logging.getLogger(__name__)
FAILURES_UNTIL_DEAD = 3
"""Requests that fail one after the other before the engine counts as dead."""
WARM_UP = "Hello"
SMOOTHING = 0.2
"""Weight of the newest request in the mean time that a request keeps its place."""


class Ticket:
    """A request's place in the server: read its events, then close it. Used on the event loop only."""

    def __init__(self, release: Callable[[Ticket], None]) -> None:
        self.started = time.monotonic()
        self._release = release
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self.generation: Generation | None = None

    def deliver(self, event: Event) -> None:
        """Takes an event from the engine's thread."""
        # The loop is closed when the process ends while the engine still runs: nobody listens then.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    async def events(self) -> AsyncIterator[Event]:
        """The answer's pieces, then one `Finished` or `Failed`."""
        while True:
            event = await self._events.get()
            yield event
            if isinstance(event, Finished | Failed):
                return

    def close(self) -> None:
        """Gives the place back; stops the engine's work on it if it is still going on."""
        if self.generation is not None:
            self.generation.cancel()
        self._release(self)


class Scheduler:
    """Owns the engine's thread, admits requests up to a bound, and knows whether the engine is well.

    Args:
        make_engine: makes the engine; called on the engine's thread, because it may import torch.
        max_held: requests held at once, waiting and running together.
    """

    def __init__(self, make_engine: Callable[[], Engine], max_held: int) -> None:
        self._make_engine = make_engine
        self._max_held = max_held
        self._tickets: set[Ticket] = set()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._engine: Engine | None = None
        self._on_death: Callable[[], None] = lambda: None
        self._failures = 0
        self._held_seconds = 1.0
        self._draining = False
        self._aborted: str | None = None
        self.work = WorkQueue()
        self.info: ModelInfo | None = None
        self.ready = False
        self.was_ready = False
        self.death: str | None = None
        """Why the engine no longer works; None while it does."""

    def start(self, on_death: Callable[[], None]) -> None:
        """Starts to load the model.

        Args:
            on_death: called on the engine's thread when the engine will answer nothing any more.
        """
        self._on_death = on_death
        self._thread.start()

    def admit(self) -> Ticket:
        """Takes a place for a request; whoever gets it must close it.

        Raises:
            ApiError: 503 while loading, shutting down or with a dead engine; 429 when full.
        """
        if self.death is not None:
            raise ApiError(503, "engine_dead", "the model no longer answers; the server has to be restarted")
        if self._draining:
            raise ApiError(503, "shutting_down", "the server is shutting down", retry_after=1)
        if not self.ready:
            raise ApiError(503, "loading", "the model is still loading", retry_after=5)
        if len(self._tickets) >= self._max_held:
            # Little's law: with N places and W seconds in one, a place becomes free every W/N seconds.
            wait = max(1, math.ceil(self._held_seconds / self._max_held))
            raise ApiError(429, "queue_full", f"{self._max_held} requests are being answered already", wait)
        ticket = Ticket(self._release)
        self._tickets.add(ticket)
        return ticket

    async def encode(self, text: str) -> list[int]:
        """Prompt text to tokens, off the event loop: a long prompt takes milliseconds."""
        return await asyncio.to_thread(self._loaded().encode, text)

    def submit(self, ticket: Ticket, prompt_ids: Sequence[int], sampling: Sampling) -> None:
        """Queues an admitted request for the engine."""

        def deliver(event: Event) -> None:
            self._note(event)
            ticket.deliver(event)

        ticket.generation = self._generation(prompt_ids, sampling, deliver)
        if self._aborted is not None:
            ticket.generation.abort(self._aborted)
        self.work.put(ticket.generation)

    @property
    def held(self) -> int:
        """Requests that have a place now."""
        return len(self._tickets)

    def drain(self) -> None:
        """Admits nothing more; what has a place keeps it."""
        self._draining = True

    def abort(self, message: str) -> None:
        """Refuses whatever has not been answered yet, and whatever is submitted later."""
        self._aborted = message
        for ticket in list(self._tickets):
            if ticket.generation is not None:
                ticket.generation.abort(message)

    def stop(self, timeout: float) -> bool:
        """Stops the engine's thread; returns whether it ended within `timeout` seconds."""
        self._draining = True
        self.work.close()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _release(self, ticket: Ticket) -> None:
        if ticket in self._tickets:
            self._tickets.remove(ticket)
            seconds = time.monotonic() - ticket.started
            self._held_seconds += SMOOTHING * (seconds - self._held_seconds)

    def _run(self) -> None:
        started = time.monotonic()
        try:
            self._engine = self._make_engine()
            self.info = self._engine.load()
            facts = asdict(self.info) | {"end_ids": sorted(self.info.end_ids)}
            LOG.info("loaded", extra=facts | {"seconds": round(time.monotonic() - started, 3)})
            self._warm_up(started)
            self._engine.run(self.work)
        except Exception as error:
            LOG.debug("the engine ended", exc_info=True)
            self._die(f"{type(error).__name__}: {error}".splitlines()[0])
        else:
            if not self._draining:
                self._die("the engine stopped by itself")

    def _warm_up(self, started: float) -> None:
        """Puts a first prompt before all others: the server is ready when the model has answered it."""
        engine = self._loaded()

        def deliver(event: Event) -> None:
            if isinstance(event, Failed):
                self._die(f"the first prompt failed: {event.message}")
            elif isinstance(event, Finished):
                self.ready = self.was_ready = True
                LOG.info("ready", extra={"seconds": round(time.monotonic() - started, 3)})

        self.work.put(self._generation(engine.encode(WARM_UP), Sampling(max_new_tokens=2), deliver))

    def _generation(
        self, prompt_ids: Sequence[int], sampling: Sampling, deliver: Callable[[Event], None]
    ) -> Generation:
        assert self.info is not None
        return Generation(prompt_ids, sampling, self._loaded().decode, self.info.end_ids, deliver)

    def _loaded(self) -> Engine:
        assert self._engine is not None, "admit() lets nothing in before the engine is loaded"
        return self._engine

    def _note(self, event: Event) -> None:
        if isinstance(event, Finished):
            self._failures = 0
        elif isinstance(event, Failed) and event.engine_fault:
            self._failures += 1
            if self._failures >= FAILURES_UNTIL_DEAD:
                self._die(
                    f"{self._failures} requests failed one after the other, the last with {event.message}"
                )

    def _die(self, reason: str) -> None:
        if self.death is not None:
            return
        self.death = reason
        self.ready = False
        LOG.error("the model cannot be served: %s", reason)
        self.work.close()
        self.abort("the model no longer answers")
        self._on_death()
