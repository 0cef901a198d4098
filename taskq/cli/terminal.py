"""Tables on a terminal. The only user of rich, imported when there is a table to draw."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from taskq.cli.tablelayout import GAP, lay_out

_STYLES = {"ok": "green", "note": "yellow", "problem": "bold red"}
"""Colours of cells that are nothing but such a word. `NO_COLOR` switches all of them off, which is rich's doing."""


def draw_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Draw a table as wide as the terminal: sentences are folded, ids and times never; see tablelayout.py.

    Args:
        headings: Of the columns.
        rows: Their cells, escaped already: they are drawn as they are, no markup in them is obeyed.

    Returns:
        The headings of the columns that had no room.
    """
    console = Console(highlight=False)
    layout = lay_out(headings, rows, console.width)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, GAP - 1, 0, 0))
    for place, width in zip(layout.places, layout.widths, strict=True):
        table.add_column(headings[place], overflow="fold", width=width)
    for row in rows:
        cells = [row[place] for place in layout.places]
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in cells))
    needed = sum(layout.widths) + GAP * (len(layout.widths) - 1)
    console.width = max(console.width, needed)
    console.print(table)
    return [heading for place, heading in enumerate(headings) if place not in layout.places]
