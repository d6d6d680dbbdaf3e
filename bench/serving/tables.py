"""The results as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def throughput(found: Mapping[str, Any]) -> str:
    """One line for each contestant and number of clients, then ratios."""
    rows: list[tuple[str, ...]] = [
        ("", "clients", "requests/s", "p50 s", "p95 s", "requests", "failed", "identical", "same tokens")
    ]
    for name, cells in found["cells"].items():
        rows += [(name, clients, *(_text(cell[key]) for key in _COLUMNS)) for clients, cell in cells.items()]
    lines = [
        f"{found['new_tokens']} new tokens; 'same tokens': from the start, mean, compared with generate's"
    ]
    lines += aligned(rows)
    for pair, by_clients in found["ratios"].items():
        said = ", ".join(f"{clients}: {_text(value)}" for clients, value in by_clients.items())
        lines.append(f"requests/s, {pair}, by clients: {said}")
    return "\n".join([*lines, *_left_out(found)])


_COLUMNS = (
    "requests_per_second", "p50", "p95", "requests", "failed", "identical", "common_prefix_tokens",
)  # fmt: skip


def continuous(found: Mapping[str, Any]) -> str:
    """One line for each contestant and number of threads, then the time to the first token."""
    if "left_out" in found:
        return f"continuous batching was not measured: {found['left_out']}"
    keys = ("tokens_per_second", "mean_completion_seconds", "first_token_p50", "first_token_p95", "failed")
    rows: list[tuple[str, ...]] = [
        ("", "tokens/s", "mean completion s", "first token p50 s", "p95 s", "failed")
    ]
    rows += [(name, *(_text(each[key]) for key in keys)) for name, each in found["contestants"].items()]
    if (moderate := found["moderate_load"]) is not None:
        name = f"ours, {moderate['requests_per_second']} requests/s"
        rows.append((name, *(_text(moderate[key]) for key in keys)))
    fewest, most = found["new_tokens"]
    same = found["agreement_with_static"]
    return "\n".join(
        [
            f"decoder-only, {found['requests']} requests of {fewest} to {most} tokens, arriving one by one; "
            f"asked for: {found['offered_tokens_per_second']} tokens/s",
            *aligned(rows),
            f"answers identical to the static batch's: {same['identical']}; "
            f"mean number of same tokens from the start: {same['common_prefix_tokens']}",
        ]
    )


def cold_start(found: Mapping[str, Any]) -> str:
    """Medians and their parts."""
    lines = [f"cold start of {found['model']}, bytes: {found['bytes']}"]
    for state, medians in found["median_seconds"].items():
        for name, seconds in medians.items():
            parts = ", ".join(f"{part} {value} s" for part, value in found["breakdown"][state][name].items())
            lines.append(f"page cache {state}: {name}: {seconds} s ({parts})")
    return "\n".join([*lines, *_left_out(found)])


def aims(found: Sequence[Mapping[str, Any]]) -> str:
    """Each aim with what was measured and whether that meets it."""
    verdicts = {True: "met", False: "MISSED", None: "unknown"}
    rows = [(verdicts[aim["met"]], aim["what"], _text(aim["measured"]), aim["aim"]) for aim in found]
    return "\n".join(aligned(rows))


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines whose columns are as wide as their widest cell."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _left_out(found: Mapping[str, Any]) -> list[str]:
    return [f"left out: {name}: {reason}" for name, reason in found["left_out"].items()]


def _text(value: object) -> str:
    return "unknown" if value is None else f"{value}"
