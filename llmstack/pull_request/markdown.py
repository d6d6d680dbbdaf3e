"""Text of others inside Markdown: shown as it is, and never taken for markup, a mention or a link."""

from __future__ import annotations

import re
from collections.abc import Sequence

_LINE_BREAKS = re.compile(r"\s+")
_FENCE = re.compile(r"`{3,}")


def code(text: str) -> str:
    """One line of text as an inline code span that a table's cell may hold.

    GitHub splits a table's row at `|` even inside code, and takes `\\|` there for a plain bar. A backtick
    would end the span, so it becomes an acute accent. Source: GitHub Flavored Markdown, 4.10 and 6.1.
    """
    line = _LINE_BREAKS.sub(" ", text).strip().replace("`", "´").replace("|", "\\|")
    return f"`{line}`" if line else ""


def block(text: str) -> str:
    """Lines of text as a fenced code block whose fence is longer than any inside it."""
    longest = max((len(found) for found in _FENCE.findall(text)), default=2)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text.rstrip()}\n{fence}"


def table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table; every cell is Markdown already."""
    lines = [columns, tuple("---" for _ in columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def details(summary: str, body: str) -> str:
    """A part that is folded away; `summary` is HTML of our own."""
    return f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>"
