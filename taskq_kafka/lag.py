"""How much of a partition waits, and how one of its records stands, from a few numbers and the commit's metadata.

Pure; the numbers come from backlog.py and search.py.
"""

from __future__ import annotations

from .offsets import NewerFormat, State


def waiting(*, low: int, end: int, committed: int, metadata: str | None) -> tuple[int, int]:
    """Return how many records of a partition nobody has claimed, and the offset of the first.

    Transaction markers and compacted offsets count as records: nobody can tell without reading.

    Args:
        low: The first offset that still exists.
        end: One above the last offset a `read_committed` reader may see.
        committed: The group's offset; below zero where it has none, and so begins at `low`.
        metadata: What stands beside it; tells what is settled out of order above it.
    """
    if committed < low:
        return max(0, end - low), low
    state = _state(committed, metadata)
    first_untouched = max(committed, state.settled_end)
    return max(0, end - first_untouched) + len(state.unfinished), committed


def standing(offset: int, *, low: int, committed: int, metadata: str | None) -> tuple[bool, int]:
    """Return whether a record was claimed (it ran, or was lost with its worker), and how many unclaimed ones stand before it.

    Args:
        offset: The record's own.
        low: The first offset that still exists.
        committed: The group's offset; below zero where it has none.
        metadata: What stands beside it.
    """
    if committed < 0:
        return False, max(0, offset - low)
    state = _state(committed, metadata)
    first_untouched = max(committed, state.settled_end)
    if offset < first_untouched and offset not in state.unfinished:
        return True, 0
    before = sum(unfinished < offset for unfinished in state.unfinished)
    return False, before + max(0, offset - max(first_untouched, low))


def _state(committed: int, metadata: str | None) -> State:
    try:
        return State.parse(committed, metadata)
    except (NewerFormat, ValueError):
        return State(committed)
