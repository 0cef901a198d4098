"""Tables on a terminal. The only user of rich, imported when there is a table to draw."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

_STYLES = {"ok": "green", "note": "yellow", "problem": "bold red"}
"""Colours of cells that are nothing but such a word. `NO_COLOR` switches all of them off, which is rich's doing."""


def draw_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Draw a table as wide as the terminal; long cells are broken into lines, never cut.

    Args:
        headings: Of the columns.
        rows: Their cells, escaped already: they are drawn as they are, no markup in them is obeyed.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    Console(highlight=False).print(table)
