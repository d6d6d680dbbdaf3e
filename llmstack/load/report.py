"""A load test's figures as a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmstack.load.summary import Result, Spread
from llmstack.load.sweep import Sweep


def columns(sweep: Sweep) -> list[str]:
    """The heads of the table's columns; times are in seconds."""
    streamed = ["first token p50", "p95", "between tokens p50", "p95"] if sweep.stream else []
    return [
        sweep.axis,
        "sent",
        "answered",
        "requests/s",
        "tokens/s",
        "latency p50",
        "p95",
        "p99",
        *streamed,
        "not answered",
    ]


def row(sweep: Sweep, result: Result) -> list[str]:
    """One step's line of the table."""
    streamed = []
    if sweep.stream:
        streamed = [*_times(result.first_token, "p50", "p95"), *_times(result.inter_token, "p50", "p95")]
    errors = ", ".join(f"{count} × {kind}" for kind, count in sorted(result.errors.items())) or "0"
    return [
        f"{result.load:g}" + (" (cut short)" if result.cut else ""),
        str(result.sent),
        str(result.answered),
        f"{result.requests_per_second:.2f}",
        "–" if result.tokens_per_second is None else f"{result.tokens_per_second:.1f}",
        *_times(result.latency, "p50", "p95", "p99"),
        *streamed,
        errors,
    ]


def document(
    name: dict[str, str], sweep: Sweep, results: Sequence[Result], *, complete: bool
) -> dict[str, Any]:
    """Everything that was measured and how, as plain data; times are in seconds.

    Args:
        name: what was tested: stack, deployment, address, model.
        sweep: what was sent.
        results: the steps.
        complete: whether the test went to its end.
    """
    return {
        **name,
        "loop": "closed" if sweep.concurrency else "open",
        "load": sweep.axis,
        "warm_up_seconds": sweep.length.warm_up,
        "step_seconds": sweep.length.seconds,
        "step_requests": sweep.length.requests,
        "max_new_tokens": sweep.max_new_tokens,
        "stream": sweep.stream,
        "timeout_seconds": sweep.timeout,
        "seed": sweep.seed,
        "prompts": len(sweep.texts) or "built in",
        "complete": complete,
        "steps": [result.as_json() for result in results],
    }


def _times(spread: Spread | None, *fields: str) -> list[str]:
    return ["–" if spread is None else f"{getattr(spread, field):.3f}" for field in fields]
