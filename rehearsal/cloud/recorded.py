"""Work on the event loop that the world records as one call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import AbstractContextManager
from typing import TypeVar

T = TypeVar("T")


async def inside(recorded: AbstractContextManager[None], work: Awaitable[T]) -> T:
    """Await work inside a context manager that blocks."""
    try:
        await asyncio.to_thread(recorded.__enter__)
    except BaseException:
        if asyncio.iscoroutine(work):
            work.close()
        raise
    try:
        answer = await work
    except Exception as error:
        # The context manager only records the error: it always lets it through.
        await asyncio.to_thread(_leave, recorded, error)
        raise
    await asyncio.to_thread(recorded.__exit__, None, None, None)
    return answer


def _leave(recorded: AbstractContextManager[None], error: Exception) -> None:
    recorded.__exit__(type(error), error, error.__traceback__)
