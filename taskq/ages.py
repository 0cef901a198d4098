"""Ages as people type them: `90s`, `15m`, `2h30m`, `7d`. Pure."""

from __future__ import annotations

import re
from datetime import timedelta

_FORM = re.compile(
    r"(?:(?P<days>\d{1,9})d)?(?:(?P<hours>\d{1,9})h)?(?:(?P<minutes>\d{1,9})m)?(?:(?P<seconds>\d{1,9})s?)?",
    re.ASCII | re.IGNORECASE,
)


def read_age(text: str) -> timedelta:
    """Return a span of time; a number without a unit is seconds.

    Raises:
        ValueError: It is none; the words go on behind the text.
    """
    found = _FORM.fullmatch(text.strip())
    parts = {name: int(part) for name, part in found.groupdict("0").items()} if found else {}
    if found is None or not found.group():
        raise ValueError("is no age such as 90s, 15m, 2h30m or 7d")
    try:
        return timedelta(**parts)
    except OverflowError:
        raise ValueError("is too long") from None
