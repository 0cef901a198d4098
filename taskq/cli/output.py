"""How commands print data: a table on a terminal, plain lines in a pipe, one JSON document for programs.

To stdout; all else goes to stderr.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from taskq.printing import escaped

_UNUSUAL = re.compile(r"[^\n -~]")
_WIDEST = 200  # characters of a cell: a table with a foreign program's megabyte in it shows nothing


def print_json(document: Any) -> None:
    """Print one JSON document; what JSON has no form for stands as its text, and what a terminal would obey is escaped."""
    text = json.dumps(document, indent=2, ensure_ascii=False, default=str)
    click.echo(_UNUSUAL.sub(_json_escaped, text))


def _json_escaped(match: re.Match[str]) -> str:
    character = match[0]
    return character if character.isprintable() else json.dumps(character)[1:-1]


def print_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Print a line of headings and one a row, in columns that line up; None is `-`. Nothing for no rows."""
    if not rows:
        return
    headings = [heading.upper().replace("_", " ") for heading in columns]
    cells = [[_cell(row[column]) for column in columns] for row in rows]
    if is_terminal():
        from taskq.cli.terminal import draw_table

        left_out = draw_table(headings, cells)
        if left_out:
            names = ", ".join(left_out)
            click.echo(
                f"taskq: no room for {names}: a wider terminal shows all, or --json", err=True
            )
        return
    lines = [headings, *cells]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    for line in lines:
        padded = (text.ljust(width) for text, width in zip(line, widths, strict=True))
        click.echo("  ".join(padded).rstrip())


def is_terminal() -> bool:
    """Return whether a person reads what is printed, and no program."""
    return sys.stdout.isatty()


def print_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """Print rows as a table, or as a JSON array of objects."""
    if as_json:
        print_json(rows)
    else:
        print_table(rows, columns)


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, (list, tuple)):
        return escaped(", ".join(map(str, value)) or "-")
    text = " ".join(str(value).split())
    return escaped(text if len(text) <= _WIDEST else f"{text[:_WIDEST]}…")
