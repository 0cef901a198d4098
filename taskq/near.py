"""The nearest name, for errors that offer what was probably meant."""

from __future__ import annotations

from collections.abc import Iterable

_CUTOFF = 0.6  # difflib's own default: fewer than six letters in ten alike is a guess, not a help


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name most like `name`, if one is like it at all."""
    import difflib  # only errors need it, and it costs the start of every program 2 ms

    by_folded = {candidate.lower(): candidate for candidate in known}
    matches = difflib.get_close_matches(name.lower(), by_folded, n=1, cutoff=_CUTOFF)
    return by_folded[matches[0]] if matches else None
