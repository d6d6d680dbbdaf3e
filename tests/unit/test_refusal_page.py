"""`docs/refusals.md` says what the data say, and something catches every mistake of the originals."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from rehearsal.refusal_table import PAGE, originals, page
from rehearsal.standins.refusals import refusals
from stacks.plan.hardware import BUILT_TOPOLOGIES, TOPOLOGIES

ROOT = Path(__file__).parents[2]
BUGS = [bug for original in originals() for bug in original["bugs"]]
TESTS = {
    name
    for folder in (ROOT / "tests", *sorted((ROOT / "images").glob("*/tests")))
    for path in folder.rglob("test_*.py")
    for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
}


def test_the_page_is_what_the_data_make_of_it() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m rehearsal.refusal_table"


def test_the_page_names_every_row() -> None:
    text = page()
    assert all(f"| `{row.id}` |" in text for row in refusals())


@pytest.mark.parametrize("bug", BUGS, ids=[bug["what"][:40] for bug in BUGS])
def test_a_mistake_of_an_original_is_caught_by_something_that_exists(bug: dict[str, Any]) -> None:
    assert bug.keys() <= {"what", "rows", "how", "shown", "not_built"}
    assert bug.keys() & {"rows", "how", "not_built"}
    assert set(bug.get("rows", ())) <= {row.id for row in refusals()}
    assert set(bug.get("shown", ())) <= TESTS
    if "not_built" in bug:
        assert bug["not_built"] in TOPOLOGIES
        assert bug["not_built"] not in BUILT_TOPOLOGIES


def test_every_original_has_a_topology_of_this_project() -> None:
    assert [original["topology"] for original in originals()] == list(TOPOLOGIES)
