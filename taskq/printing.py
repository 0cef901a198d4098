"""Values as people read them, and foreign text made harmless and short for logs and terminals. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def escaped(text: str, *, keep: str = "") -> str:
    """Return a text with each character that is not printable as its escape: a terminal would obey it, UTF-8 not write it.

    Args:
        text: Of whatever origin.
        keep: Characters that stay as they are, such as line breaks.
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in keep else each.encode("unicode_escape").decode()
        for each in text
    )


def age(seconds: float) -> str:
    """Return a time span in its two largest units: `1h 2m`."""
    whole = max(0, int(seconds))
    for size, unit, smaller, smaller_unit in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "m"),
        (60, "m", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size}{unit} {rest}{smaller_unit}"
    return f"{whole}s"


def runs(numbers: Iterable[int]) -> str:
    """Return sorted numbers with runs of three and more as ranges: `0-3, 7`."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][-1] + 1:
            found[-1].append(number)
        else:
            found.append([number])
    texts = (f"{run[0]}-{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in found)
    return ", ".join(texts)


def counted(count: int, word: str) -> str:
    """Return a number with its word: `1 record`, `1,234 records`."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def listed(names: Sequence[str], *, most: int = 5) -> str:
    """Return the first few names, and how many more there are: `a, b and 12 more`."""
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most:,} more"


def shortened(text: str, *, most: int = 100) -> str:
    """Return a text for one line: the middle of a longer one is left out, as its begin and end tell it best."""
    if len(text) <= most:
        return text
    half = (most - 1) // 2
    return f"{text[:half]}…{text[-half:]}"
