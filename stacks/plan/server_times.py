"""How long the serving image waits, where its platform cuts a request off."""

from __future__ import annotations

_ANSWER_SECONDS = 2
"""Time that the server keeps to refuse a request itself before the platform cuts it off. Assumed."""

_STALL_SECONDS = (120, 600)
"""Least and most time in which an engine that has work may finish no forward pass before it counts as dead. A
pass over a full batch of long prompts takes a large model minutes on a CPU, and is of use as long as its
requests wait for it. Assumed."""


def request_seconds(timeout: float) -> float:
    """Gives how long the server works on a request.

    Args:
        timeout: seconds after which the platform cuts it off.
    """
    return max(timeout - _ANSWER_SECONDS, timeout / 2)


def stall_seconds(timeout: float) -> float:
    """Gives how long an engine may finish nothing before it counts as dead; `timeout` as for a request."""
    least, most = _STALL_SECONDS
    return min(max(request_seconds(timeout), least), most)
