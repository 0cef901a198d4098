"""Local time of a zone, as spans of constant distance from UTC.

Inside a span local time and UTC run alike, so that a search on the local clock needs no other thought: a local time that does
not exist lies in no span, one that exists twice lies in two. All instants are whole seconds since 1970, local ones counted as if
the local clock were UTC.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from taskq.near import nearest

_DAY = 86_400
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_NO_END = 2**62


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time, from some instant up to `end` (excluded), in which local time = UTC + `offset` seconds."""

    offset: int
    end: int


_UTC = Span(offset=0, end=_NO_END)


def check_zone(name: str) -> None:
    """Check that there is a zone of this name in the IANA database.

    Raises:
        ValueError: There is not; the text says so and offers near names.
    """
    if name == "UTC":
        return
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        near = nearest(name, available_timezones())
        hint = f"did you mean {near!r}?" if near else "give an IANA name, such as 'Europe/Berlin'"
        raise ValueError(f"unknown time zone {name!r}; {hint}") from None


def span_at(zone: str, instant: int) -> Span:
    """Return the span that an instant lies in. A span may end at a new year without a change of the clock.

    Args:
        zone: A name that `check_zone` accepts.
        instant: Seconds since 1970, of the years 2 to 9998.
    """
    if zone == "UTC":
        return _UTC
    year = (_EPOCH + timedelta(seconds=instant)).year
    starts, spans = _spans_of_year(zone, year)
    return spans[bisect_right(starts, instant) - 1]


@lru_cache(maxsize=4096)
def _spans_of_year(zone: str, year: int) -> tuple[tuple[int, ...], tuple[Span, ...]]:
    """Find the clock changes of a (UTC) year: the starts of its spans, and the spans.

    The zone database offers no list of changes, so the clock is looked at once a day, and a day whose ends differ is halved.
    Two changes within a day that undo each other would be missed; the zone database knows none less than two days apart.
    """
    tz = ZoneInfo(zone)
    first, end = _year_start(year), _year_start(year + 1)
    starts, offsets = [first], [_offset(tz, first)]
    for day in range(first, end, _DAY):
        after = _offset(tz, day + _DAY)
        if after != offsets[-1]:
            starts.append(_first_with(tz, after, day, day + _DAY))
            offsets.append(after)
    ends = [*starts[1:], end]
    return tuple(starts), tuple(
        Span(offset, until) for offset, until in zip(offsets, ends, strict=True)
    )


def _year_start(year: int) -> int:
    return (datetime(year, 1, 1, tzinfo=timezone.utc) - _EPOCH).days * _DAY


def _offset(tz: ZoneInfo, instant: int) -> int:
    offset = (_EPOCH + timedelta(seconds=instant)).astimezone(tz).utcoffset()
    return 0 if offset is None else int(offset.total_seconds())


def _first_with(tz: ZoneInfo, offset: int, before: int, at: int) -> int:
    """Return the first instant in (before, at] from which the zone has an offset that it has not at `before`."""
    while at - before > 1:
        middle = (before + at) // 2
        if _offset(tz, middle) == offset:
            at = middle
        else:
            before = middle
    return at
