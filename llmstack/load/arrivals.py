"""When the requests of an open loop are due."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Length:
    """How long a step of a load test goes on; exactly one of `seconds` and `requests` is given.

    Args:
        warm_up: seconds at its beginning whose requests are sent and not counted.
        seconds: seconds after that in which requests begin.
        requests: number of requests that begin after the warm-up.
    """

    warm_up: float
    seconds: float | None = None
    requests: int | None = None

    def counts(self, at: float) -> bool:
        """Whether a request that is due at `at` seconds is counted."""
        return at >= self.warm_up

    def goes_on(self, at: float, counted: int) -> bool:
        """Whether one more request begins at `at` seconds, after `counted` that count."""
        if self.requests is not None:
            return counted < self.requests
        assert self.seconds is not None
        return at < self.warm_up + self.seconds


def poisson(rate: float, length: Length, seed: int) -> Iterator[float]:
    """When requests are due, in seconds from the step's beginning: independent of each other, as users are.

    Args:
        rate: requests per second in the mean.
        length: how long they go on.
        seed: equal ones give equal times.
    """
    # Nothing secret depends on it.
    chooser = random.Random(seed)  # noqa: S311
    at = chooser.expovariate(rate)
    counted = 0
    while length.goes_on(at, counted):
        counted += length.counts(at)
        yield at
        at += chooser.expovariate(rate)
