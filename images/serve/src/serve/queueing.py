"""The bound on requests held, their deadlines, and the orderly end: everything that decides who may wait.

Used on the event loop only.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from serve.errors import ApiError

T = TypeVar("T")
SMOOTHING = 0.2
"""Weight of the newest request in the mean time that a request keeps its place."""
SLACK_SECONDS = 1.0
"""An engine ends an answer at its deadline; one that does not within this time is not waited for."""


class Place:
    """One request's place in the server, from admission to `close`.

    Args:
        deadline_seconds: seconds from now after which the request is refused, waiting included.
        release: called once, when the place is free again.
    """

    def __init__(self, deadline_seconds: float, release: Callable[[Place], None]) -> None:
        self.started = time.monotonic()
        self.deadline = self.started + deadline_seconds
        """`time.monotonic()` at which the answer must have ended."""
        self.on_release: Callable[[], None] = lambda: None
        """Stops the engine's work on the request."""
        self._release = release
        self._refusal: ApiError | None = None
        self._waits: asyncio.Timeout | None = None
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(deadline_seconds + SLACK_SECONDS, self.abort, late(deadline_seconds))

    async def wait(self, step: Callable[[], Awaitable[T]]) -> T:
        """The result of `step`, unless the place is aborted before there is one.

        Raises:
            ApiError: what `abort` was given.
        """
        self.check()
        try:
            async with asyncio.timeout(None) as self._waits:
                return await step()
        except TimeoutError:
            if self._refusal is None:
                raise
            raise self._refusal from None
        finally:
            self._waits = None

    def check(self) -> None:
        """Raises what `abort` was given, if it was called."""
        if self._refusal is not None:
            raise self._refusal

    def abort(self, refusal: ApiError) -> None:
        """Refuses the request now, in whatever it waits for, and frees the place."""
        if self._refusal is None:
            self._refusal = refusal
            if self._waits is not None:
                self._waits.reschedule(asyncio.get_running_loop().time())
            self.close()

    def close(self) -> None:
        """Gives the place back and stops the engine's work on it; may be called again."""
        self._timer.cancel()
        stop, self.on_release = self.on_release, lambda: None
        stop()
        self._release(self)


class Gate:
    """Admits requests up to a bound and keeps their places.

    Args:
        limit: places; waiting and running requests together.
        deadline_seconds: longest that a request may take, waiting included.
    """

    def __init__(self, limit: int, deadline_seconds: float) -> None:
        self.limit = limit
        self._deadline_seconds = deadline_seconds
        self._places: set[Place] = set()
        self._mean_seconds = 1.0
        self._draining = False

    @property
    def held(self) -> int:
        """Places that are taken now."""
        return len(self._places)

    @property
    def draining(self) -> bool:
        """Whether nothing more is admitted."""
        return self._draining

    def admit(self, count: int = 1, deadline_seconds: float | None = None) -> list[Place]:
        """Takes places, all or none; whoever gets them must close them.

        Args:
            count: places that the request needs, one for each answer.
            deadline_seconds: the client's own deadline; the server's where it is None or later than that.

        Raises:
            ApiError: 422, more than there are; 429, more than are free; 503, shutting down.
        """
        if self._draining:
            raise shutting_down()
        if count > self.limit:
            message = (
                f"the request asks for {count} answers, the server holds {self.limit}: send fewer at once"
            )
            raise ApiError(422, "too_many_answers", message)
        if len(self._places) + count > self.limit:
            message = f"{len(self._places)} of {self.limit} places are taken: ask again later"
            raise ApiError(429, "queue_full", message, self._retry_after(count))
        seconds = min(self._deadline_seconds, deadline_seconds or self._deadline_seconds)
        places = [Place(seconds, self._release) for _ in range(count)]
        self._places.update(places)
        return places

    def drain(self) -> None:
        """Admits nothing more; what has a place keeps it."""
        self._draining = True

    def abort(self, refusal: ApiError) -> None:
        """Refuses whatever has not been answered yet."""
        for place in list(self._places):
            place.abort(refusal)

    def _retry_after(self, count: int) -> int:
        # Little's law: with N places and W seconds in one, a place becomes free every W/N seconds.
        return max(1, math.ceil(count * self._mean_seconds / self.limit))

    def _release(self, place: Place) -> None:
        if place in self._places:
            self._places.remove(place)
            seconds = time.monotonic() - place.started
            self._mean_seconds += SMOOTHING * (seconds - self._mean_seconds)


def late(seconds: float) -> ApiError:
    """The refusal of a request whose deadline has passed."""
    message = f"the answer was not complete within {seconds:g} seconds: ask for fewer tokens, or later"
    return ApiError(504, "deadline_exceeded", message)


def shutting_down() -> ApiError:
    """The refusal of a request that this server will not answer any more."""
    return ApiError(503, "shutting_down", "the server is shutting down", retry_after=1)
