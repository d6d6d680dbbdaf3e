"""What `llmstack fit` says of every model on every topology, as recorded in `tests/goldens/fit`.

A change of a formula, a machine or a model changes these files. `make goldens` renews them and prints what
changed.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path

import pytest

from stacks.plan import fit_model
from stacks.plan.catalog import catalog
from stacks.plan.hardware import TOPOLOGIES
from stacks.plan.types import FitRow

FOLDER = Path(__file__).parents[1] / "goldens" / "fit"
GIB = 2**30


def golden(name: str) -> Path:
    return FOLDER / f"{name.replace('/', '--')}.txt"


def written(name: str) -> str:
    return f"{name}\n\n" + "\n".join(line for row in fit_model(name) for line in lines(row)) + "\n"


def lines(row: FitRow) -> list[str]:
    sizes = f"{row.need_bytes / GIB:7.2f} of {row.have_bytes / GIB:7.2f} GiB per {row.per}"
    head = f"{row.topology:9} {row.purpose:9} {row.engine:12} {row.dtype:8} {sizes:34} {row.machine}"
    return [head] if row.fits else [head, f"    no: {row.reason}", f"    {row.remedy}"]


@pytest.mark.parametrize("name", catalog())
def test_what_fits_where_is_what_is_recorded(name: str) -> None:
    path, now = golden(name), written(name)
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    if os.environ.get("RENEW_GOLDENS"):
        changes = difflib.unified_diff(before.splitlines(True), now.splitlines(True), path.name, "now")
        print("".join(changes), end="")
        path.write_text(now, encoding="utf-8")
    else:
        assert now == before, "if that is right: make goldens"


def test_there_is_a_golden_for_every_model_and_no_other() -> None:
    assert {path.name for path in FOLDER.glob("*.txt")} == {golden(name).name for name in catalog()}


@pytest.mark.parametrize("name", catalog())
def test_every_model_is_sized_on_every_topology_for_every_purpose(name: str) -> None:
    rows = fit_model(name)
    assert {row.topology for row in rows} == set(TOPOLOGIES)
    assert {row.purpose for row in rows} == {"serving", "staging", "streaming", "training"}
