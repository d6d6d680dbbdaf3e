"""Whether the engine is well: loading, ready, dead; and the task that notices when that changes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path

from serve.engines.base import (
    Capabilities,
    Engine,
    EngineSettings,
    FinishReason,
    GenerateRequest,
)
from serve.errors import ApiError, Exit, StartupError

LOG = logging.getLogger(__name__)
WARM_UP = "Hello"
WARM_UP_TOKENS = 2
FAILURES_UNTIL_DEAD = 3
"""Requests that fail one after the other before the engine counts as dead."""
LOOK_SECONDS = 0.25
"""Between two looks at the engine."""


class Status(StrEnum):
    """What `/ready` and `/health` say."""

    LOADING = "loading"
    READY = "ready"
    DEAD = "dead"


class Host:
    """Loads an engine, asks it a first prompt, and watches it until the server ends.

    Args:
        make_engine: makes the engine; called off the event loop, because it may import torch.
        path: the staged model.
        settings: how the engine is to run it.
        stall_seconds: an engine with work that completes no forward pass in this time counts as dead.
        on_death: called once, when the engine will answer nothing any more.
        fetch: brings the model to `path`, before the engine is made; raises `StartupError`.
    """

    def __init__(
        self,
        make_engine: Callable[[], Engine],
        path: Path,
        settings: EngineSettings,
        stall_seconds: float,
        on_death: Callable[[], None],
        fetch: Callable[[], None] = lambda: None,
    ) -> None:
        self._make_engine = make_engine
        self._path = path
        self._settings = settings
        self._stall_seconds = stall_seconds
        self._on_death = on_death
        self._fetch = fetch
        self._engine: Engine | None = None
        self._capabilities: Capabilities | None = None
        self._special_ids: list[int] = []
        self._failures = 0
        self._failed_at = 0.0
        self._loading = False
        self.status = Status.LOADING
        self.death: str | None = None
        """Why the engine no longer works; None while it does."""
        self.was_ready = False
        self.exit_code = Exit.MODEL_LOAD
        """The process's exit status where the model never answered."""

    @property
    def engine(self) -> Engine:
        """The engine.

        Raises:
            ApiError: 503, it is not ready or is dead.
        """
        if self.status is Status.DEAD:
            raise engine_dead()
        if self.status is Status.LOADING or self._engine is None:
            raise _loading()
        return self._engine

    @property
    def capabilities(self) -> Capabilities:
        """What the model can do; raises as `engine` does."""
        if self._capabilities is None:
            raise _loading()
        return self._capabilities

    @property
    def special_ids(self) -> list[int]:
        """The tokens of an empty prompt: those that the model expects around every prompt."""
        return self._special_ids

    @property
    def loaded(self) -> Engine | None:
        """The engine if there is one, whatever its state; for metrics."""
        return self._engine

    async def run(self) -> None:
        """Loads, warms up, then watches; ends when the engine is dead. Cancel it to stop."""
        try:
            started = time.monotonic()
            await self._load(started)
            watch = asyncio.ensure_future(self._watch())
            try:
                await self._warm_up(started)
                await watch
            finally:
                watch.cancel()
        except StartupError as error:
            self.exit_code = error.code
            self.die(str(error))
        except Exception as error:
            LOG.debug("the engine ended", exc_info=True)
            self.die(f"{type(error).__name__}: {error}".splitlines()[0])

    def note_answer(self) -> None:
        """Takes note of an answer that the engine completed."""
        self._failures = 0

    def note_failure(self, started: float) -> None:
        """Counts a request that the engine failed on; what failed together, as one batch does, counts once.

        Args:
            started: `time.monotonic()` of the request's admission.
        """
        if started < self._failed_at:
            return
        self._failures += 1
        self._failed_at = time.monotonic()
        if self._failures >= FAILURES_UNTIL_DEAD:
            self.die(f"{self._failures} requests failed one after the other; the log has each one's error")

    def die(self, reason: str) -> None:
        """Marks the engine dead; only the first reason counts."""
        if self.death is None:
            self.death, self.status = reason, Status.DEAD
            LOG.error("the model cannot be served: %s", reason)
            self._on_death()

    def stop(self, timeout: float) -> bool:
        """Stops the engine; returns whether it ended within `timeout` seconds."""
        if self._loading:
            return False
        return self._engine is None or self._engine.close(timeout)

    async def _load(self, started: float) -> None:
        def load() -> None:
            try:
                self._fetch()
                engine = self._make_engine()
                self._capabilities = engine.load(self._path, self._settings)
                self._special_ids = engine.encode("")
                self._engine = engine
            finally:
                self._loading = False

        self._loading = True
        await in_daemon_thread(load)
        assert self._capabilities is not None
        facts = asdict(self._capabilities) | {"end_ids": sorted(self._capabilities.end_ids)}
        LOG.info("loaded", extra=facts | {"seconds": round(time.monotonic() - started, 3)})

    async def _warm_up(self, started: float) -> None:
        """Asks a first prompt: the server is ready when the model has answered it."""
        assert self._engine is not None
        prompt = await asyncio.to_thread(self._engine.encode, WARM_UP)
        stream = self._engine.submit(
            GenerateRequest(id="warm-up", prompt_ids=prompt, max_new_tokens=WARM_UP_TOKENS)
        )
        async for event in stream:
            if event.finish in (FinishReason.STOP, FinishReason.LENGTH) and self.death is None:
                self.status, self.was_ready = Status.READY, True
                LOG.info("ready", extra={"seconds": round(time.monotonic() - started, 3)})

    async def _watch(self) -> None:
        """Returns when the engine says that it is dead, or has had work and stood still for too long."""
        assert self._engine is not None
        steps, moved = -1, time.monotonic()
        while self.death is None:
            if self._engine.death is not None:
                self.die(self._engine.death)
                return
            now = self._engine.now()
            if now.steps != steps or now.running + now.waiting == 0:
                steps, moved = now.steps, time.monotonic()
            elif time.monotonic() - moved > self._stall_seconds:
                self.die(f"the model has not completed a step for {self._stall_seconds:g} seconds")
                return
            await asyncio.sleep(LOOK_SECONDS)


def engine_dead() -> ApiError:
    """The refusal of a request that nothing will answer any more."""
    return ApiError(503, "engine_dead", "the model no longer answers; the server has to be restarted")


def _loading() -> ApiError:
    return ApiError(503, "loading", "the model is still loading", retry_after=5)


async def in_daemon_thread(work: Callable[[], None]) -> None:
    """Runs `work` on a thread that does not keep the process from ending, unlike `asyncio.to_thread`."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def finish(error: Exception | None) -> None:
        if not done.done():
            done.set_exception(error) if error else done.set_result(None)

    def run() -> None:
        error = None
        try:
            work()
        except Exception as raised:
            error = raised
        # The loop is closed when the process ends while the model still loads: nobody listens then.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(finish, error)

    threading.Thread(target=run, name="load", daemon=True).start()
    await done
