"""Waiting for a deployment that is busy or loading."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_before_delay
from tenacity.wait import wait_base, wait_exponential

from llmstack.client import BusyError

PATIENCE_SECONDS = 120.0
"""How long a deployment that is busy or loading is waited for."""
T = TypeVar("T")


def patiently(call: Callable[[], T], notice: Callable[[str], None]) -> T:
    """The result of `call`, which is tried again while it raises `BusyError`.

    Args:
        call: what to try.
        notice: is told why it takes longer, each time.

    Raises:
        BusyError: it was still busy when patience ended, or asks for more of it than there is.
    """

    def say_why(state: RetryCallState) -> None:
        notice(f"{_error(state)}; trying again in {state.upcoming_sleep:.0f} s")

    retrying = Retrying(
        retry=retry_if_exception_type(BusyError),
        wait=_AsTold(),
        stop=stop_before_delay(PATIENCE_SECONDS),
        before_sleep=say_why,
        reraise=True,
    )
    result: T = retrying(call)
    return result


class _AsTold(wait_base):
    """Waits as long as the deployment asked for; where it did not say, ever longer."""

    def __init__(self) -> None:
        self._otherwise = wait_exponential(multiplier=1, max=15)

    def __call__(self, retry_state: RetryCallState) -> float:
        error = _error(retry_state)
        told = error.retry_after if isinstance(error, BusyError) else None
        return self._otherwise(retry_state) if told is None else told


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None
