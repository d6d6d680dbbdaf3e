"""One rule, as the check names it."""

from __future__ import annotations

import ast
from dataclasses import dataclass

_TEXT = 110


@dataclass(frozen=True, slots=True)
class Site:
    """A rule and where it stands.

    Attributes:
        key: Names the rule in one run: its file and its number there.
        file: Path relative to the root.
        line: Line in that file.
        where: The function, the class and field, or the place in the table.
        text: The rule's own text, on one line.
    """

    key: str
    file: str
    line: int
    where: str
    text: str

    def __str__(self) -> str:
        shown = self.text if len(self.text) <= _TEXT else self.text[: _TEXT - 1] + "…"
        return f"{self.file}:{self.line}: {self.where}: {shown}"


class UnplacedError(Exception):
    """A rule in a form that the check cannot take away."""


def text_of(node: ast.AST) -> str:
    """The source of a node on one line."""
    return " ".join(ast.unparse(node).split())
