"""How much of a partition waits, from three numbers and the commit's metadata. Pure; the numbers come from admin.py."""

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
    try:
        state = State.parse(committed, metadata)
    except (NewerFormat, ValueError):
        state = State(committed)
    first_untouched = max(committed, state.settled_end)
    return max(0, end - first_untouched) + len(state.unfinished), committed
