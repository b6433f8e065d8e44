"""What commands print: tables for people at a terminal, JSON for programs; notes and errors always on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from everstep.cli.text import clean, compact

_WIDE = 160
"""How wide tables are where there is no terminal to fit."""


class Format(StrEnum):
    """The forms of output."""

    TABLE = "table"
    JSON = "json"


OutputOption = Annotated[
    Format | None,
    typer.Option("--output", "-o", help="table, or json; without it, a table at a terminal and JSON elsewhere."),
]


class Output:
    """Prints in the form that was asked for, or that fits where stdout goes."""

    def __init__(self, wanted: Format | None) -> None:
        terminal = sys.stdout.isatty()
        self.json = wanted is Format.JSON or (wanted is None and not terminal)
        width = None if terminal or "COLUMNS" in os.environ else _WIDE
        self.console = Console(width=width, highlight=False, markup=False, soft_wrap=False)
        self.notes = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)

    def data(self, value: Any) -> None:
        """One JSON object, over several lines."""
        self._write(json.dumps(value, ensure_ascii=False, indent=2, default=str))

    def line(self, value: Any) -> None:
        """One JSON object on a line of its own, at once."""
        self._write(compact(value))

    def text(self, text: str, style: str = "") -> None:
        """A line for people."""
        self.console.print(Text(clean(text), style=style), soft_wrap=True)

    def note(self, text: str) -> None:
        """A line on stderr that is no part of the output."""
        self.notes.print(Text(clean(text), style="yellow"))

    def note_undeclared(self, given: Iterable[str], name: str, declared: Sequence[str]) -> None:
        """Note the fields that an event type does not declare; nothing for a type that declares none."""
        for key in given if declared else ():
            if key not in declared:
                self.note(f"field {key} is not declared by {name} (fields: {', '.join(declared)})")

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table; long cells are folded, not cut, so that ids can be copied."""
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=any(columns))
        for column in columns:
            table.add_column(column, header_style="bold", overflow="fold")
        for row in rows:
            table.add_row(*(Text(clean(cell), style=_STYLES.get(cell, "")) for cell in row))
        self.console.print(table)

    def _write(self, text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


_STYLES = {
    "completed": "green",
    "failed": "red",
    "timed_out": "red",
    "terminated": "red",
    "cancelled": "yellow",
    "waiting": "yellow",
    "running": "cyan",
    "ok": "green",
    "warning": "yellow",
}
