"""`llmstack models` and `llmstack fit`: what can be served, and where it fits."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from llmstack.output import console, fail, gib, print_json, print_table
from stacks.config_errors import suggest
from stacks.plan.catalog import catalog
from stacks.plan.fit import fit_model
from stacks.plan.types import FitRow

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document.")]


def models(as_json: AsJson = False) -> None:
    """The models that a stack may name."""
    entries = catalog()
    if as_json:
        print_json({name: entry.model_dump(mode="json", by_alias=True) for name, entry in entries.items()})
        return
    columns = ("model", "family", "parameters", "checkpoint", "context", "licence", "gated")
    rows = [
        (
            name,
            entry.family,
            f"{entry.parameters:,}" if entry.parameters else "computed",
            entry.checkpoint_dtype,
            entry.context,
            entry.licence,
            "yes" if entry.gated else "no",
        )
        for name, entry in entries.items()
    ]
    print_table("Models", columns, rows)


def fit(
    model: Annotated[str, typer.Argument(help="A model's name, as `llmstack models` lists it.")],
    as_json: AsJson = False,
) -> None:
    """Where a model fits, on what machine, and by how much; with the arithmetic."""
    if model not in catalog():
        fail(f"there is no model {model!r}: {suggest(model, catalog())}", 2)
    rows = fit_model(model)
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    table = [
        (row.topology, "yes" if row.fits else "no", row.machine, gib(row.need_bytes), gib(row.have_bytes))
        for row in rows
    ]
    print_table(f"{model} by topology", ("topology", "fits", "machine", "needs", "has"), table)
    for row in rows:
        _arithmetic(row)


def _arithmetic(row: FitRow) -> None:
    reason = f": {row.reason}" if row.reason else ""
    console.print(f"\n{row.topology} on {row.machine}{reason}", markup=False)
    for line in row.lines:
        console.print(f"  {gib(line.bytes):>10}  {line.what}: {line.arithmetic}", markup=False)
