"""Who runs with whom: pure functions over prompt lengths and times.

A batch pays for its longest prompt in every row, so rows of similar length belong together; a step costs
nearly the same for one row as for several, so one batch is better than several small ones. Nothing starves:
the most urgent request leads each batch, and one without a deadline is as urgent as its arrival makes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

PATIENCE_SECONDS = 10.0
"""A request without a deadline is as urgent as one with this much time at its arrival."""
FREE_PADDING = 256
"""Padded prompt tokens in a batch that are not worth a second batch."""
PADDING_SHARE = 0.25
"""Padded tokens allowed beyond, as a share of the prompts' own tokens."""
BURST_GAP = 2
"""Clients that were answered together ask again together: where several requests wait, an idle engine waits
until none has come for so many times `max_wait` …"""
BURST_WAITS = 10
"""… and the first has waited so many times that long."""
JOIN_SHARE = 0.25
"""A second batch starts beside a running one once it has this share of its rows …"""
JOIN_SECONDS = 0.2
"""… or once a request has waited this long."""
MAX_COHORTS = 4
"""Most batches that take turns."""
MERGE_PADDING = 3072
"""Padded tokens that merging two batches may add. In every step and layer, of width d, one costs the reading
of its keys and values, 2 d numbers; a turn of another batch costs the reading of the weights, 12 d² numbers
in a decoder-only model, 16 d² in an encoder-decoder one. So 6 d padded tokens, 3072 where d is 512, are as
dear as a turn."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A waiting request as the policy sees it."""

    length: int
    """Tokens of its prompt."""
    arrived: float
    """`time.monotonic()` of its arrival."""
    deadline: float | None = None
    """`time.monotonic()` at which it is of no use any more."""
    tokens: int = 0
    """Most tokens of prompt and answer that are kept for it."""

    @property
    def urgency(self) -> float:
        """The time by which it should run: the smaller, the more urgent."""
        patient = self.arrived + PATIENCE_SECONDS
        return patient if self.deadline is None else min(self.deadline, patient)


def choose(
    waiting: Sequence[Candidate], room: int, max_tokens: int, cache_room: int | None = None
) -> list[int]:
    """The next batch: the most urgent request, and those whose prompts are nearest to it in length.

    Args:
        waiting: the requests that wait.
        room: most rows.
        max_tokens: most prompt tokens, padding included; the most urgent request runs whatever it has.
        cache_room: tokens of prompts and answers that there is memory for; None for no bound. Where the most
            urgent request does not fit, nothing runs before it.

    Returns:
        Positions in `waiting`, the most urgent first.
    """
    if not waiting or room < 1:
        return []
    leader = min(range(len(waiting)), key=lambda i: (waiting[i].urgency, i))
    length, kept = waiting[leader].length, waiting[leader].tokens
    if cache_room is not None and kept > cache_room:
        return []
    others = sorted(
        (i for i in range(len(waiting)) if i != leader),
        key=lambda i: (abs(waiting[i].length - length), waiting[i].urgency, i),
    )
    chosen, longest, total = [leader], length, length
    for i in others:
        if len(chosen) == room:
            break
        top, new_total = max(longest, waiting[i].length), total + waiting[i].length
        padded = top * (len(chosen) + 1)
        if cache_room is not None and kept + waiting[i].tokens > cache_room:
            continue
        if padded <= max_tokens and padded - new_total <= FREE_PADDING + PADDING_SHARE * new_total:
            chosen.append(i)
            longest, total, kept = top, new_total, kept + waiting[i].tokens
    return chosen


def wait_for_mates(waiting: Sequence[Candidate], room: int, max_wait: float, now: float) -> float:
    """Seconds that an idle engine should wait for more requests before it starts a batch; 0 to start now.

    Args:
        waiting: the requests that wait, at least one.
        room: rows that a batch can have.
        max_wait: longest time that a single request waits for others, in seconds.
        now: `time.monotonic()`.
    """
    if len(waiting) >= room:
        return 0.0
    arrivals = [candidate.arrived for candidate in waiting]
    latest = arrivals[0] + max_wait
    if len(waiting) > 1:
        latest = min(max(arrivals) + BURST_GAP * max_wait, min(arrivals) + BURST_WAITS * max_wait)
    deadlines = [candidate.deadline for candidate in waiting if candidate.deadline is not None]
    return max(0.0, min([latest, *deadlines]) - now)


def may_join(waiting: Sequence[Candidate], running: Sequence[int], room: int, now: float) -> bool:
    """Whether a new batch should start beside those that run.

    Args:
        waiting: the requests that wait.
        running: rows of each running batch.
        room: rows that are free.
        now: `time.monotonic()`.
    """
    if not waiting or room < 1 or len(running) >= MAX_COHORTS:
        return False
    enough = min(len(waiting), room) >= JOIN_SHARE * sum(running)
    return enough or now - min(candidate.arrived for candidate in waiting) >= JOIN_SECONDS


def may_merge(rows: Sequence[tuple[int, int]], others: Sequence[tuple[int, int]]) -> bool:
    """Whether the rows of two batches should run as one.

    Args:
        rows: of each row of the one, the tokens that its encoder and its decoder have read.
        others: of each row of the other likewise.
    """
    return _padding([*rows, *others]) - _padding(rows) - _padding(others) <= MERGE_PADDING


def _padding(rows: Sequence[tuple[int, int]]) -> int:
    columns = [max(lengths) for lengths in zip(*rows, strict=True)]
    padding: int = len(rows) * sum(columns) - sum(encoder + decoder for encoder, decoder in rows)
    return padding
