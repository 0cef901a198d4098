"""How wide the columns of a table are on a terminal, and which have no room. Pure.

What somebody may want to copy stays in one piece: words, so ids, times and names. Only sentences are folded, and words beyond
all measure. Where that is not enough, other columns are left out, from the right; never the first, and never ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

GAP = 2
"""Characters between two columns."""

_IDS = frozenset({"ID", "SCHEDULE"})
_TEXTS = frozenset({"DIFFERENCES", "ERROR", "FINDING", "NOTE", "USE"})  # even where they are short
_SHORT = 24  # characters of a column that is never folded: `3m 20s`, a time
_LONGEST_WORD = 40  # characters that are not broken; an id has 36
_NARROWEST = 16  # characters of a sentence's column


@dataclass(frozen=True, slots=True)
class Layout:
    """Which columns stand in a table."""

    places: tuple[int, ...]
    """Their places among all."""

    widths: tuple[int, ...]
    """How wide each of these is. Together they may be wider than the terminal, if ids are."""


def lay_out(headings: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Layout:
    """Return what fits.

    Args:
        headings: Of all columns.
        rows: Their cells.
        width: Of the terminal, in characters.
    """
    columns = [(heading, *(row[place] for row in rows)) for place, heading in enumerate(headings)]
    floors = [_floor(cells) for cells in columns]
    places = list(range(len(columns)))
    for place in reversed(places):
        if _total([floors[each] for each in places]) <= width:
            break
        if place != 0 and headings[place] not in _IDS and not _is_text(columns[place]):
            places.remove(place)
    if _total([floors[each] for each in places]) > width:
        places = [each for each in places if each == 0 or headings[each] in _IDS]
    widths = {place: max(map(len, columns[place])) for place in places}
    while _total(list(widths.values())) > width:
        spare = [place for place in places if widths[place] > floors[place]]
        if not spare:
            break
        widths[max(spare, key=lambda place: widths[place])] -= 1
    return Layout(tuple(places), tuple(widths[place] for place in places))


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)


def _is_text(cells: Sequence[str]) -> bool:
    """Return whether a column has sentences."""
    return cells[0] in _TEXTS or any(len(cell) > _SHORT and " " in cell for cell in cells)


def _floor(cells: Sequence[str]) -> int:
    """Return how narrow a column can be without a word of it being broken."""
    widest = max(map(len, cells))
    if widest <= _SHORT or cells[0] in _IDS:
        return widest
    longest = max(len(word) for cell in cells for word in cell.split())
    return min(widest, max(_NARROWEST, min(longest, _LONGEST_WORD)))
