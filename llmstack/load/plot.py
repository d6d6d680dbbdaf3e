"""The plot of a load test: latency and throughput over the load."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from llmstack.load.summary import Result, Spread

INCHES = (11.0, 4.2)
DOTS_PER_INCH = 140


def save_plot(file: Path, title: str, axis: str, results: Sequence[Result]) -> None:
    """Write a PNG with two panels: latency, and requests and tokens per second.

    Args:
        file: where to.
        title: what was measured.
        axis: what the load is, with its unit.
        results: the steps.

    Raises:
        OSError: the file cannot be written.
    """
    figure = Figure(figsize=INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    left, right = figure.subplots(1, 2)
    _latency(left, results)
    _throughput(right, results)
    loads = sorted({result.load for result in results})
    for panel in (left, right):
        panel.set_xlabel(axis)
        panel.grid(alpha=0.3)
        # A sweep doubles the load from step to step.
        if len(loads) > 2 and loads[-1] >= 8 * loads[0]:
            panel.set_xscale("log", base=2)
        panel.set_xticks(loads)
        panel.xaxis.set_major_formatter(ScalarFormatter())
    figure.savefig(file, dpi=DOTS_PER_INCH, format="png")


def _latency(panel: Axes, results: Sequence[Result]) -> None:
    panel.set_title("Latency of answered requests")
    panel.set_ylabel("seconds")
    for name in ("p50", "p95", "p99"):
        _line(panel, name, [(each.load, each.latency) for each in results], name)
    firsts = [(each.load, each.first_token) for each in results]
    if any(value for _, value in firsts):
        _line(panel, "first token, p95", firsts, "p95", linestyle="--")
    if panel.lines:
        panel.legend()
    _from_zero(panel)


def _line(
    panel: Axes,
    label: str,
    values: Sequence[tuple[float, Spread | None]],
    field: str,
    linestyle: str = "-",
) -> None:
    known = [(load, getattr(value, field)) for load, value in values if value is not None]
    if known:
        panel.plot(*zip(*known, strict=True), marker="o", label=label, linestyle=linestyle)
        # Few answers have one value for both; the upper line must not hide the other.
        panel.lines[-1].set_alpha(0.7)


def _throughput(panel: Axes, results: Sequence[Result]) -> None:
    panel.set_title("Throughput")
    loads = [each.load for each in results]
    panel.set_ylabel("requests/s")
    requests = panel.plot(
        loads, [each.requests_per_second for each in results], marker="o", color="C0", label="requests/s"
    )
    _from_zero(panel)
    tokens_panel = panel.twinx()
    tokens_panel.set_ylabel("generated tokens/s")
    tokens = tokens_panel.plot(
        loads,
        # A gap where the server does not count them.
        [nan if each.tokens_per_second is None else each.tokens_per_second for each in results],
        marker="s",
        color="C1",
        label="generated tokens/s",
    )
    _from_zero(tokens_panel)
    panel.legend(handles=[*requests, *tokens], loc="lower right")


def _from_zero(panel: Axes) -> None:
    panel.margins(y=0.12)
    panel.set_ylim(bottom=0)
