"""What the measurements say: percentiles, ratios, aims, agreement, and tables of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from bench.serving.contestants import FLASK, INT8, OURS_EXACT, TORCHSERVE, TORCHSERVE_BATCHES
from bench.serving.load import Outcome
from bench.serving.words import common_prefix

T = TypeVar("T")
RIVALS = (FLASK, TORCHSERVE, TORCHSERVE_BATCHES)
MANY = "32"
"""The number of clients that the aims speak of."""
LATENCY_SHARE = 0.1
LEAST_AGAINST_TORCHSERVE = {TORCHSERVE: 6.0, TORCHSERVE_BATCHES: 2.0}

Cells = Mapping[str, Mapping[str, Mapping[str, Any]]]
Aims = list[dict[str, Any]]


def rotated(items: Sequence[T], by: int) -> list[T]:
    """The items with another one first in each round, so that nobody always follows the same."""
    start = by % len(items) if items else 0
    return [*items[start:], *items[:start]]


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def has_bfloat16(cpuinfo: str, machine: str) -> bool:
    """Whether a processor multiplies bfloat16: Intel's and AMD's flags, and Arm's."""
    wanted = {"avx512_bf16", "amx_bf16"} if machine == "x86_64" else {"bf16"}
    return bool(wanted & set(cpuinfo.split()))


def cell(rounds: Sequence[Sequence[Outcome]], references: Sequence[str] | None = None) -> dict[str, Any]:
    """One contestant at one number of clients, all rounds together.

    Args:
        rounds: The requests of each round.
        references: Plain `generate`'s answer to each prompt; None if answers are not looked at.
    """
    everything = [outcome for found in rounds for outcome in found]
    good = [outcome for outcome in everything if outcome.text is not None]
    seconds = sum(max((outcome.ended for outcome in found), default=0.0) for found in rounds)
    latencies = [outcome.ended - outcome.started for outcome in good]
    result: dict[str, Any] = {
        "requests": len(everything),
        "failed": len(everything) - len(good),
        "errors": sorted({outcome.error for outcome in everything if outcome.error})[:3],
        "seconds": round(seconds, 2),
        "requests_per_second": round(len(good) / seconds, 2) if seconds else 0.0,
        "p50": round(percentile(latencies, 0.5), 3) if good else None,
        "p95": round(percentile(latencies, 0.95), 3) if good else None,
    }
    if references is not None:
        result |= agreement(good, references)
    return result


def agreement(good: Sequence[Outcome], references: Sequence[str]) -> dict[str, Any]:
    """How many answers are plain `generate`'s, and how far they go together, in tokens."""
    pairs = [(outcome.text or "", references[outcome.prompt]) for outcome in good]
    prefixes = [common_prefix(answer, reference) for answer, reference in pairs]
    return {
        "identical": sum(answer == reference for answer, reference in pairs),
        "other_length": sum(len(answer.split()) != len(reference.split()) for answer, reference in pairs),
        "common_prefix_tokens": round(sum(prefixes) / len(prefixes), 1) if prefixes else None,
    }


def ratios(cells: Cells) -> dict[str, dict[str, float | None]]:
    """Requests per second of everybody else against each rival, by number of clients."""
    return {
        f"{name} / {rival}": {
            clients: rate(cells, name, rival, clients) for clients in cells[name] if clients in cells[rival]
        }
        for name in cells
        for rival in RIVALS
        if name not in RIVALS and rival in cells
    }


def rate(cells: Cells, name: str, rival: str, clients: str) -> float | None:
    """How many times a rival's requests per second; None if one has no result."""
    ours, theirs = _found(cells, name, clients), _found(cells, rival, clients)
    if ours is None or theirs is None:
        return None
    return round(float(ours["requests_per_second"] / theirs["requests_per_second"]), 2)


def _found(cells: Cells, name: str, clients: str) -> Mapping[str, Any] | None:
    found = cells.get(name, {}).get(clients)
    return found if found is not None and found["requests_per_second"] else None


def throughput_aims(cells: Cells) -> Aims:
    """The aims against Flask and TorchServe, each with what was measured."""
    aims: Aims = []
    for name in OURS_EXACT:
        aims.append(_faster(cells, name, FLASK, MANY, 10.0))
        aims.append(_identical(cells, name))
        aims.append(_latency(cells, name))
        aims.append(_faster(cells, name, FLASK, "1", 2.0))
        aims += [_faster(cells, name, rival, MANY, aim) for rival, aim in LEAST_AGAINST_TORCHSERVE.items()]
    aims.append(_faster(cells, INT8, FLASK, MANY, 30.0))
    return aims


def _faster(cells: Cells, name: str, rival: str, clients: str, aim: float) -> dict[str, Any]:
    what = f"{name}: requests/s of {rival}, clients: {clients}"
    return _at_least(what, rate(cells, name, rival, clients), aim)


def _identical(cells: Cells, name: str) -> dict[str, Any]:
    """All answers of all cells: a batch of any size must give the answers of `generate`."""
    found = list(cells.get(name, {}).values())
    requests, same = sum(each["requests"] for each in found), sum(each["identical"] for each in found)
    share = round(same / requests, 4) if requests else None
    what = f"{name}: share of answers identical to generate's ({same} of {requests})"
    return _at_least(what, share, 1.0)


def _latency(cells: Cells, name: str) -> dict[str, Any]:
    ours, theirs = _found(cells, name, MANY), _found(cells, FLASK, MANY)
    share = None if ours is None or theirs is None else round(float(ours["p95"] / theirs["p95"]), 3)
    return _at_most(f"{name}: p95 of {FLASK}, clients: {MANY}", share, LATENCY_SHARE)


def _at_least(what: str, measured: float | None, aim: float) -> dict[str, Any]:
    met = None if measured is None else measured >= aim
    return {"what": what, "measured": measured, "aim": f">= {aim:g}", "met": met}


def _at_most(what: str, measured: float | None, aim: float) -> dict[str, Any]:
    met = None if measured is None else measured <= aim
    return {"what": what, "measured": measured, "aim": f"<= {aim:.3g}", "met": met}


def schedule(finished: Sequence[Outcome], new_tokens: Sequence[int]) -> dict[str, Any]:
    """Requests that arrived one by one.

    Args:
        finished: In the order of their arrival.
        new_tokens: What each asked for.
    """
    good = [
        (outcome, tokens)
        for outcome, tokens in zip(finished, new_tokens, strict=True)
        if outcome.text is not None and len(outcome.text.split()) == tokens
    ]
    firsts = [outcome.first - outcome.started for outcome, _ in good if outcome.first is not None]
    seconds = max((outcome.ended for outcome, _ in good), default=0.0) - min(
        (outcome.started for outcome in finished), default=0.0
    )
    completion = [outcome.ended - outcome.started for outcome, _ in good]
    return {
        "requests": len(finished),
        "failed": len(finished) - len(good),
        "errors": sorted({outcome.error for outcome in finished if outcome.error})[:3],
        "seconds": round(seconds, 2),
        "tokens_per_second": round(sum(tokens for _, tokens in good) / seconds, 1) if good else 0.0,
        "mean_completion_seconds": round(sum(completion) / len(good), 3) if good else None,
        "first_token_p50": round(percentile(firsts, 0.5), 3) if firsts else None,
        "first_token_p95": round(percentile(firsts, 0.95), 3) if firsts else None,
    }


def merged(rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The mean of each figure over the rounds; requests and failures are added."""
    result: dict[str, Any] = {}
    for key in rounds[0]:
        values = [found[key] for found in rounds]
        if key in ("requests", "failed"):
            result[key] = sum(values)
        elif key == "errors":
            result[key] = sorted({error for value in values for error in value})[:3]
        else:
            result[key] = None if None in values else round(sum(values) / len(values), 3)
    return result


def fastest(found: Mapping[str, Mapping[str, Any]], kind: str) -> str:
    """Of the entries whose name begins with a kind's, the one with most tokens per second."""
    names = [name for name in found if name.startswith(f"{kind},")]
    return max(names, key=lambda name: float(found[name]["tokens_per_second"]))


def continuous_aims(ours: Mapping[str, Any] | None, static: Mapping[str, Any] | None) -> Aims:
    """Continuous batching against the static batch."""
    speed = time = None
    if ours and static and not ours["failed"] and not static["failed"]:
        speed = round(ours["tokens_per_second"] / static["tokens_per_second"], 2)
        time = round(ours["mean_completion_seconds"] / static["mean_completion_seconds"], 3)
    return [
        _at_least("tokens/s of a static batch of 16", speed, 2.0),
        _at_most("mean completion time of a static batch of 16", time, 1 / 3),
    ]


def cold_start_aims(medians: Mapping[str, Mapping[str, float | None]], baseline: str) -> Aims:
    """First token against reading and importing, for each state of the page cache and each of ours."""
    aims: Aims = []
    for state, found in medians.items():
        for name, seconds in found.items():
            if name != baseline:
                rival = found.get(baseline)
                measured = None if seconds is None or rival is None else round(seconds / rival, 2)
                aims.append(_at_most(f"{name}: {baseline}'s seconds, page cache {state}", measured, 1.3))
    return aims
