"""What every command prints: tables for a person, one JSON document for a program, one line for an error."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

PIPED_WIDTH = 160
"""Columns of a table that no terminal shows."""


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=PIPED_WIDTH)


console = _console(stderr=False)
errors = _console(stderr=True)

GIB = 1 << 30
USAGE = 2
"""Exit code of a command that was given what it cannot take."""
INTERRUPTED = 130
"""Exit code of a command that Ctrl-C ended: 128 + SIGINT, as a shell gives it."""


def print_json(value: Any) -> None:
    """Write `value` as one JSON document on standard output."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table; every cell is shown as text, so nothing in it is taken for markup."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column == "model")
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    console.print(table)


def fail(message: str, code: int = 1) -> NoReturn:
    """End the command with one message on standard error.

    Raises:
        typer.Exit: always, with `code`.
    """
    errors.print(message, markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(code)


def gib(size: int) -> str:
    """`size` bytes as GiB with two decimals."""
    return f"{size / GIB:.2f} GiB"
