"""What would work where a model does not fit: another element type, machine, topology, or a smaller model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from stacks.plan.types import FitRow

CPU = "CPU"
CLOUD_RUN = "cloud-run"
_MOST = 2


def device(row: FitRow) -> str:
    """Names what computes in a row of the `cloud-run` topology: a GPU, or the CPU."""
    return row.machine.rpartition("1 ")[2] if row.per == "GPU" else CPU


def remedied(row: FitRow, rows: Sequence[FitRow], smaller: str | None) -> FitRow:
    """Adds to a row that does not fit what would.

    Args:
        row: any row.
        rows: all rows of the model.
        smaller: a smaller model.
    """
    if row.fits or row.remedy:
        return row
    same = [other for other in rows if other.topology == row.topology]
    if row.topology == CLOUD_RUN:
        options = deployable(same, row.purpose, device(row)) or elsewhere(rows, row.purpose)
    else:
        options = _places(same, row.purpose) or _places(rows, row.purpose)
    too_large = row.margin_bytes < 0
    return replace(row, remedy=sentence(options, smaller if too_large else None))


def deployable(rows: Sequence[FitRow], purpose: str, computing: str) -> list[str]:
    """Lists the settings of topology `cloud-run` that would do; the same device's come first.

    Args:
        rows: all rows of the model.
        purpose: what for.
        computing: the device that does not do as it is.
    """
    rows = [row for row in rows if row.topology == CLOUD_RUN and row.purpose == purpose]
    fitting = [row for row in rows if row.fits]
    fitting.sort(key=lambda row: device(row) != computing)
    usual = {device(row): row.dtype for row in reversed(rows)}
    return [_setting(row, computing, usual[device(row)]) for row in fitting][:_MOST]


def elsewhere(rows: Sequence[FitRow], purpose: str) -> list[str]:
    """Lists the other topologies that would do."""
    return _places([row for row in rows if row.topology != CLOUD_RUN], purpose)


def sentence(options: Sequence[str], smaller: str | None) -> str:
    """Writes the remedies for a message."""
    listed = [*options, *([f"the smaller model {smaller}"] if smaller else [])]
    return f"would work: {', or '.join(listed)}" if listed else "nothing in this version holds it"


def _setting(row: FitRow, computing: str, usual: str) -> str:
    """Writes the keys of a stack file that make a row of `cloud-run`, with the machine that it then gets."""
    here = device(row)
    keys = []
    if here != computing:
        keys.append("no resources.gpu" if here == CPU else f"resources.gpu: {here}")
    if row.dtype != usual or not keys:
        keys.append(f"dtype: {row.dtype}")
    return f"{' and '.join(keys)} ({row.machine})"


def _places(rows: Sequence[FitRow], purpose: str) -> list[str]:
    return [
        f"{row.topology} in {row.dtype} with {row.engine} on {row.machine}"
        + ("" if row.deployable else " (not deployable yet)")
        for row in rows
        if row.fits and row.purpose == purpose
    ][:_MOST]
