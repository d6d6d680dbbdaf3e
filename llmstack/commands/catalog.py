"""`llmstack models` and `llmstack fit`: what can be served, and where it fits."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from llmstack.output import console, fail, gib, print_json, print_table
from stacks.config_errors import suggest
from stacks.plan.catalog import catalog
from stacks.plan.fit import fit_model
from stacks.plan.hardware import TOPOLOGIES, engines_for
from stacks.plan.types import FitRow

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document.")]


def models(as_json: AsJson = False) -> None:
    """The models that a stack may name."""
    entries = catalog()
    if as_json:
        print_json({name: entry.model_dump(mode="json", by_alias=True) for name, entry in entries.items()})
        return
    columns = ("model", "family", "parameters", "checkpoint", "context", "licence", "gated", "on TPUs")
    rows = [
        (
            name,
            entry.family,
            f"{entry.parameters:,}" if entry.parameters else "computed",
            entry.checkpoint_dtype,
            entry.context,
            entry.licence,
            "yes" if entry.gated else "no",
            ", ".join(engine.name for engine in engines_for(entry, "gke-tpu")) or "-",
        )
        for name, entry in entries.items()
    ]
    print_table("Models", columns, rows)


def fit(
    model: Annotated[str, typer.Argument(help="A model's name, as `llmstack models` lists it.")],
    topology: Annotated[str | None, typer.Option(help=f"Only one of {', '.join(TOPOLOGIES)}.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="The arithmetic of every row.")] = False,
    as_json: AsJson = False,
) -> None:
    """Where a model fits, for serving, staging, streaming and training: on what machine, and by how much."""
    if model not in catalog():
        fail(f"there is no model {model!r}: {suggest(model, catalog())}", 2)
    if topology is not None and topology not in TOPOLOGIES:
        fail(f"there is no topology {topology!r}: {suggest(topology, TOPOLOGIES)}", 2)
    rows = fit_model(model, topology)
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    columns = ("topology", "purpose", "engine", "dtype", "machine", "needs", "has", "spare", "for each")
    print_table(f"{model}: the smallest machine that fits", columns, map(_cells, rows))
    if any(not row.deployable for row in rows):
        console.print("(not yet): sized, and not deployable in this version", markup=False)
    for line in dict.fromkeys(f"{row.topology}: {text}" for row in rows for text in row.advice):
        console.print(line, markup=False, soft_wrap=True)
    for row in rows:
        if explain or not row.fits:
            _explain(row, arithmetic=explain)


def _cells(row: FitRow) -> tuple[str, ...]:
    return (
        row.topology if row.deployable else f"{row.topology} (not yet)",
        row.purpose,
        row.engine,
        row.dtype,
        row.machine,
        gib(row.need_bytes),
        # Without an engine no machine is looked at.
        "-" if row.engine == "none" else gib(row.have_bytes),
        gib(row.margin_bytes) if row.fits else _refused(row),
        row.per,
    )


def _refused(row: FitRow) -> str:
    return "does not fit" if row.margin_bytes < 0 else "not possible"


def _explain(row: FitRow, *, arithmetic: bool) -> None:
    where = f"{row.topology}, {row.purpose}, {row.engine} in {row.dtype}"
    outcome = f"fits {row.machine}" if row.fits else f"{_refused(row)}: {row.reason}; {row.remedy}"
    console.print(f"\n{where} {outcome}", markup=False, soft_wrap=True)
    if not arithmetic:
        return
    for line in row.lines:
        text = f"  {gib(line.bytes):>10}  {line.what}: {line.arithmetic}"
        console.print(text, markup=False, soft_wrap=True)
    for note in row.notes:
        console.print(f"  {'':>10}  {note}", markup=False, soft_wrap=True)
