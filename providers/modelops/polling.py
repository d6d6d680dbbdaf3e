"""Waiting for work that Google does: status lines while it goes on, with growing pauses between two looks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from providers.base.errors import Cancelled, ProviderError
from providers.base.provider import Provider
from providers.modelops.client import TemporaryError

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 15.0
PAUSE_GROWTH = 1.5


class Progress(Protocol):
    """How work stands."""

    @property
    def done(self) -> bool: ...

    @property
    def message(self) -> str:
        """What it does now, on one line; may be empty."""
        ...


T = TypeVar("T", bound=Progress)


@dataclass(frozen=True, slots=True)
class Watch:
    """What is waited for."""

    urn: str
    """The resource beside which the status lines stand."""
    what: str
    """What is being made, to begin a message with."""
    subject: str
    """What does it, as a message names it: "execution weights-1"."""
    timeout: float
    """The longest wait, in seconds. The work itself goes on after it."""


class TimedOut(ProviderError):  # noqa: N818 - what happened, not an error
    """The work took longer than the wait may; it goes on."""


UNDECIDED: Final = (Cancelled, TimedOut, TemporaryError)
"""What leaves open whether the work that was asked for goes on."""


class Deadline:
    """The time that one operation of the engine has for all that it waits for.

    Args:
        seconds: how long, from now.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds until then, never less than nothing."""
        return max(self._end - time.monotonic(), 0.0)


async def until_done(provider: Provider, watch: Watch, state: T, look: Callable[[], T]) -> T:
    """The state in which the work has ended, well or badly.

    Args:
        provider: gives threads, status lines and cancellation.
        watch: what is waited for, and how long.
        state: as it was last seen.
        look: how it stands now; blocks.

    Raises:
        TimedOut: it did not end in time; the message says what to do.
        Cancelled: the engine asked to stop.
        ProviderError: `look` was refused.
    """
    clock = asyncio.get_running_loop().time
    begun, pause = clock(), FIRST_PAUSE_SECONDS
    while not state.done:
        spent = clock() - begun
        if spent >= watch.timeout:
            raise TimedOut(
                f"{watch.what}: {watch.subject} still runs after {duration(watch.timeout)} and goes on; "
                "run `pulumi up` again to wait for it, or give the resource a longer custom timeout"
            )
        doing = f": {state.message}" if state.message else ""
        provider.log.status(watch.urn, f"{watch.what}, {duration(spent)}{doing}")
        try:
            await provider.pause(min(pause, watch.timeout - spent))
        except Cancelled:
            raise Cancelled(
                f"{watch.what}: no longer waiting; {watch.subject} goes on, and the next `pulumi up` "
                "waits for it"
            ) from None
        pause = min(pause * PAUSE_GROWTH, LONGEST_PAUSE_SECONDS)
        state = await provider.blocking(look)
    provider.log.status(watch.urn, "")
    return state


def duration(seconds: float) -> str:
    """A time span as a person says it: `45s`, `1m20s`, `2h05m`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
