"""Instants as text: ISO 8601 with an offset, read strictly and written in UTC.

Python 3.10 reads less of ISO 8601 than 3.11, and both read more than one form of a date; here one form is read everywhere.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from functools import lru_cache

_FORM = re.compile(
    r"(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2})(:\d{2})?(?:\.(\d{1,9}))?(Z|z|[+-]\d{2}:?\d{2})?",
    re.ASCII,
)


def read_instant(text: str) -> datetime:
    """Return an instant in UTC.

    Raises:
        ValueError: It is no such text, or has no offset; the words go on behind the text.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError("is no time such as 2026-11-23T17:00:00Z")
    day, minutes, seconds, fraction, offset = found.groups()
    if offset is None:
        raise ValueError("has no offset; add one, such as Z or +01:00")
    if offset in ("Z", "z"):
        offset = "+00:00"
    elif ":" not in offset:
        offset = f"{offset[:3]}:{offset[3:]}"
    micro = f".{(fraction or '0'):0<6.6}"
    try:
        local = datetime.fromisoformat(f"{day}T{minutes}{seconds or ':00'}{micro}{offset}")
        return local.astimezone(timezone.utc)
    except (ValueError, OverflowError):
        raise ValueError("is no time that exists") from None


@lru_cache(maxsize=1024)
def write_instant(moment: datetime) -> str:
    """Return an instant as `2026-11-23T17:00:00Z`, with microseconds where it has any.

    Kept, because a thousand schedules that are due together write the same few.
    """
    text = moment.astimezone(timezone.utc).replace(tzinfo=None).isoformat()
    return f"{text}Z"


def write_seconds(moment: datetime) -> str:
    """Return an instant as `2026-11-23T17:00:00Z`, fractions of a second cut."""
    return write_instant(moment.replace(microsecond=0))
