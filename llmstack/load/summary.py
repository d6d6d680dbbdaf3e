"""The figures of a step, from what was measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from llmstack.load.driver import Measured
from llmstack.load.sample import Outcome, Sample

LAG_SHARE = 0.05
"""Part of the median latency that the event loop's delay may be before it colours the figures."""
LEAST_LAG = 0.01
"""Seconds of delay that are never worth a word."""
FEWEST_LENGTHS = 3
"""A step shorter than this many answers catches too few of them for a rate."""


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest of the values that at least `percent` per cent of them do not exceed (nearest rank).

    It is always a value that was measured. Of few values a high percentile is the largest, where
    interpolation would give less than what happened.

    Args:
        values: at least one.
        percent: 1 to 100.
    """
    rank = -(-len(values) * percent // 100)
    return sorted(values)[rank - 1]


@dataclass(frozen=True)
class Spread:
    """How values in seconds are spread."""

    p50: float
    p95: float
    p99: float
    largest: float


def spread(values: Sequence[float]) -> Spread | None:
    """The spread of values; None of no values."""
    if not values:
        return None
    return Spread(percentile(values, 50), percentile(values, 95), percentile(values, 99), max(values))


@dataclass(frozen=True)
class Result:
    """One step's figures; times in seconds.

    Args:
        load: clients of a closed loop, or requests per second that arrive in an open one.
        seconds: length of the measured time.
        sent: requests that were due in it and ended.
        answered: those that were answered.
        requests_per_second: answers that became complete in the measured time.
        tokens_per_second: the tokens of these; None where the server does not count them.
        latency: from due to complete, of answered requests.
        first_token: from due to the first piece; None without streaming.
        inter_token: between pieces; None without streaming.
        errors: requests that were not answered, by outcome.
        details: why, one for each outcome.
        client_lag: 95th percentile of how late this client's event loop was.
        cut: whether the step was stopped before its end.
    """

    load: float
    seconds: float
    sent: int
    answered: int
    requests_per_second: float
    tokens_per_second: float | None
    latency: Spread | None
    first_token: Spread | None
    inter_token: Spread | None
    errors: dict[str, int]
    details: dict[str, str]
    client_lag: float
    cut: bool

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def summarise(load: float, measured: Measured) -> Result:
    """The figures of a step.

    Latencies are those of requests that were due in the measured time, however late they ended: leaving out
    the late ones would flatter. Rates are of answers that became complete in it, whenever they began.
    """
    counted = [sample for sample in measured.samples if sample.due >= measured.begins]
    answered = _answered(counted)
    seconds = max(measured.ends - measured.begins, 0.0)
    complete = [
        each for each in _answered(measured.samples) if measured.begins <= each.ended <= measured.ends
    ]
    failed = [sample for sample in counted if sample.outcome is not Outcome.ANSWERED]
    return Result(
        load=load,
        seconds=seconds,
        sent=len(counted),
        answered=len(answered),
        requests_per_second=len(complete) / seconds if seconds else 0.0,
        tokens_per_second=_rate([sample.tokens for sample in complete], seconds),
        latency=spread([sample.latency for sample in answered]),
        first_token=spread([sample.first_piece for sample in answered if sample.first_piece is not None]),
        inter_token=spread([gap for sample in answered for gap in sample.gaps]),
        errors=dict(Counter(sample.outcome.value for sample in failed)),
        details={sample.outcome.value: sample.detail for sample in reversed(failed)},
        client_lag=percentile(measured.lags, 95) if measured.lags else 0.0,
        cut=measured.cut,
    )


def warnings(result: Result) -> list[str]:
    """What a reader of a step's figures must know."""
    said = [f"{count} × {kind}: {result.details[kind]}" for kind, count in sorted(result.errors.items())]
    if result.latency is None:
        return said
    if result.client_lag > max(LEAST_LAG, LAG_SHARE * result.latency.p50):
        said.append(
            f"this client was a limit itself: its event loop ran {1000 * result.client_lag:.0f} ms late; "
            "run it on a machine of its own, or with less load"
        )
    if not result.cut and result.seconds < FEWEST_LENGTHS * result.latency.p50:
        said.append(
            f"an answer takes {result.latency.p50:.1f} s and the step {result.seconds:.1f} s: its rates are "
            "coarse; give more --seconds or --requests"
        )
    return said


def _rate(tokens: Sequence[int | None], seconds: float) -> float | None:
    known = [count for count in tokens if count is not None]
    if len(known) < len(tokens):
        return None
    return sum(known) / seconds if seconds else 0.0


def _answered(samples: Sequence[Sample]) -> list[Sample]:
    return [sample for sample in samples if sample.outcome is Outcome.ANSWERED]
