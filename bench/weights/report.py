"""Medians, ratios, budgets, and a table of them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

LEAST_THROUGHPUT = 0.8
MIB = 1024 * 1024

# Ours and the plain copy that does the same work: from the Hub into the store, and from the Hub to a disk.
ALIKE = (
    ("stage copy", "plain download and upload"),
    ("stage copy", "plain relay"),
    ("stage cast", "plain download and upload"),
    ("stage cast", "plain relay"),
    ("stage to folder", "plain download"),
)
# Not the same work, for whoever wants to know: the plain download leaves nothing in a store.
UNLIKE = (("stage copy", "plain download"), ("stage cast", "original"))
# What only the emulator spends time on while its client waits: it reads, digests and writes the whole object
# again when an upload ends and when an object's metadata changes. Cloud Storage does neither.
COMPLETING = ("finish", "patch")
OURS = ("stage copy", "stage cast", "stage to folder")

Runs = Mapping[str, Sequence[Mapping[str, Any]]]


def summarise(runs: Runs, given: int) -> dict[str, Any]:
    """Medians of each contender, throughputs against each other, and which budgets are met.

    Args:
        runs: What each run of each contender cost.
        given: Bytes of the checkpoint.
    """
    medians = {name: median_of(found, given) for name, found in runs.items()}
    return {
        "medians": medians,
        "throughput_ratios": {
            f"{ours} / {other}": ratio(medians, ours, other) for ours, other in (*ALIKE, *UNLIKE)
        },
        "throughput_ratios_without_completing": {
            f"{ours} / {other}": ratio(medians, ours, other, "own_seconds") for ours, other in ALIKE
        },
        "memory_ratio_to_original": memory_ratio(medians),
        "budgets": budgets(runs, medians),
    }


def median_of(found: Sequence[Mapping[str, Any]], given: int) -> dict[str, Any] | None:
    """Medians over the runs of one contender; memory is the most of any run. None if one of them failed."""
    if not found or any(run["exit_code"] for run in found):
        return None
    seconds = statistics.median(run["seconds"] for run in found)
    return {
        "seconds": round(seconds, 2),
        "own_seconds": round(statistics.median(map(own_seconds, found)), 2),
        "mib_per_second": round(given / MIB / seconds, 1),
        "cpu_seconds": round(statistics.median(run["cpu_seconds"] for run in found), 2),
        "anonymous_mib": max(run["anonymous_mib"] for run in found),
        "resident_mib": max(run["resident_mib"] for run in found),
        "group_mib": _most(run["group_mib"] for run in found),
        "from_hub": found[-1]["from_hub"],
        "to_store": sum(kind["read"] for kind in found[-1]["store"].values()),
        "disk_read": statistics.median(run["disk_read"] for run in found),
        "disk_written": statistics.median(run["disk_written"] for run in found),
    }


def _most(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return max(known) if known else None


def own_seconds(run: Mapping[str, Any]) -> float:
    """Seconds of a run less those in which the emulator alone completed objects."""
    waited = sum(count["seconds"] for kind, count in run["store"].items() if kind in COMPLETING)
    return float(run["seconds"] - waited)


def ratio(medians: Mapping[str, Any], ours: str, other: str, key: str = "seconds") -> float | None:
    """Throughput of ours over another's for the same checkpoint; None if one has no result."""
    if medians[ours] is None or medians[other] is None:
        return None
    return round(float(medians[other][key] / medians[ours][key]), 3)


def memory_ratio(medians: Mapping[str, Any]) -> float | None:
    """How many times ours the original's memory is, both without page cache."""
    if medians["original"] is None or medians["stage cast"] is None:
        return None
    return round(float(medians["original"]["anonymous_mib"] / medians["stage cast"]["anonymous_mib"]), 1)


def budgets(runs: Runs, medians: Mapping[str, Any]) -> dict[str, bool | None]:
    """Whether each budget is met; None where it could not be put to the test."""
    found: dict[str, bool | None] = {
        f"{name} completes under the hard limit": under_limit(runs[name]) for name in OURS
    }
    for ours, other in ALIKE:
        for key, what in (
            ("seconds", ""),
            ("own_seconds", ", the emulator's completing of objects left out"),
        ):
            measured = ratio(medians, ours, other, key)
            met = None if measured is None else measured >= LEAST_THROUGHPUT
            found[f"{ours}: at least {LEAST_THROUGHPUT} of the throughput of {other}{what}"] = met
    return found


def under_limit(found: Sequence[Mapping[str, Any]]) -> bool | None:
    """Whether all runs ended well under a limit that the kernel enforced; None if there was none."""
    if not found or any(run["limit_mib"] is None for run in found):
        return None
    return all(run["exit_code"] == 0 and not run["killed"] for run in found)


def table(title: str, result: Mapping[str, Any]) -> str:
    """The medians as text, one line for each contender, then ratios and budgets."""
    heads = (
        "",
        "s",
        "own s",
        "MiB/s",
        "CPU s",
        "anon MiB",
        "group MiB",
        "from Hub MB",
        "to store MB",
        "disk MB",
    )
    rows = [heads] + [_row(name, found) for name, found in result["medians"].items()]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    lines = [f"{title}: {result['repository']}, {result['bytes'] / 1e9:.2f} GB in {result['files']} files"]
    lines += ["  ".join(_aligned(row, widths)) for row in rows]
    lines += [f"{pair}: {_said(value)}" for pair, value in result["throughput_ratios"].items()]
    lines += [
        f"{pair}, the emulator's completing left out: {_said(value)}"
        for pair, value in result["throughput_ratios_without_completing"].items()
    ]
    lines += [f"original / stage cast, memory: {_said(result['memory_ratio_to_original'])}"]
    lines += [f"{_verdict(met):>7}  {budget}" for budget, met in result["budgets"].items()]
    return "\n".join(lines)


def _row(name: str, found: Mapping[str, Any] | None) -> tuple[str, ...]:
    if found is None:
        return (name, *("failed" if column == 0 else "" for column in range(9)))
    return (
        name,
        f"{found['seconds']:.2f}",
        f"{found['own_seconds']:.2f}",
        f"{found['mib_per_second']:.0f}",
        f"{found['cpu_seconds']:.2f}",
        f"{found['anonymous_mib']:.0f}",
        "unknown" if found["group_mib"] is None else f"{found['group_mib']:.0f}",
        *(f"{found[key] / 1e6:.0f}" for key in ("from_hub", "to_store", "disk_written")),
    )


def _aligned(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [
        row[0].ljust(widths[0]),
        *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
    ]


def _said(value: float | None) -> str:
    return "unknown" if value is None else f"{value:g}"


def _verdict(met: bool | None) -> str:
    return {True: "met", False: "MISSED", None: "unknown"}[met]
