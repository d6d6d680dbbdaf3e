"""The page `docs/refusals.md`: what is refused, and what catches the mistakes of the original systems.

It is made of `data/refusals/` and `data/original_bugs.yaml`; `python -m rehearsal.refusal_table` writes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from rehearsal.standins.gcp.models import RULES
from rehearsal.standins.refusals import Refusal, refusals

PAGE = Path(__file__).resolve().parents[1] / "docs" / "refusals.md"
_BUGS = Path(__file__).parent / "data" / "original_bugs.yaml"

_INTRODUCTION = """\
# What is refused, and where that is written

Made from `rehearsal/data/refusals/` and `rehearsal/data/original_bugs.yaml` by
`python -m rehearsal.refusal_table`; change those, not this page.

The rehearsed cloud holds every request to the rows below, so a rehearsal fails where Google would. Each row
has at least one case that is fed to it directly, past the plan (`tests/unit/standin_cases_*.py`). The plan
catches each row too, or it is shown that no plan leads to it (`tests/unit/plan_refusals_*.py`): whoever
writes a stack file is told before anything is asked.

- **Said**: *preview* - in every preview; *call* - when the call is made, to look something up.
- **Certainty**: C - read in the source; D - follows from what was read; U - unconfirmed.
- A row of certainty U is a **warning**. So are a few others: Google accepts them, and they are mistakes.
- *Quoted* sources are installed with the project; a test finds the words in them.
"""

_ORIGINALS = """\
## Mistakes of the original systems

Five systems stand at the origin of this project. What was wrong in them that infrastructure can see is caught
as follows; `row` names a row above.
"""


def page() -> str:
    """The page's text."""
    assert RULES, "the predicates are known once their modules are imported"
    lines = [_INTRODUCTION, "| row | refused when | said | certainty | source |", "|---|---|---|---|---|"]
    lines += [_row(row) for row in refusals()]
    lines += ["", _ORIGINALS]
    for original in originals():
        lines += [f"### {original['name']}", "", "| mistake | caught by |", "|---|---|"]
        lines += [f"| {_cell(bug['what'])} | {_cell('; '.join(_caught(bug)))} |" for bug in original["bugs"]]
        lines.append("")
    return "\n".join(lines)


def originals() -> list[dict[str, Any]]:
    """The original systems with their mistakes, as `data/original_bugs.yaml` has them."""
    found: list[dict[str, Any]] = yaml.safe_load(_BUGS.read_text(encoding="utf-8"))["originals"]
    return found


def _row(row: Refusal) -> str:
    said = {"check": "preview", "apply": "call"}[row.stage]
    outcome = row.certainty if row.refuses else f"{row.certainty}, warning"
    source = f"{row.source} (quoted)" if row.quote else row.source
    return f"| `{row.id}` | {_cell(row.message)} | {said} | {outcome} | {_cell(source)} |"


def _caught(bug: dict[str, Any]) -> Iterator[str]:
    for row in bug.get("rows", ()):
        yield f"row `{row}`"
    if "how" in bug:
        yield bug["how"]
    if "not_built" in bug:
        yield f"not built yet: topology `{bug['not_built']}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
