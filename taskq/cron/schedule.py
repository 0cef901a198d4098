"""When a cron expression is due.

Pure, without a clock. What an expression may say is in `taskq.cron.fields`. Here croniter finds the days, from lists of values
only; the time of day and the zone are searched here. The whole of croniter's calendar takes 80 to 300 microseconds a call, and
moves times inside a spring gap to its end instead of leaving them out; its days are right, and are asked for once a day.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from functools import lru_cache

from croniter import CroniterBadDateError, croniter

from taskq.cron.fields import Fields, read_expression
from taskq.cron.localtime import check_zone, span_at
from taskq.errors import InvalidSchedule

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
_SECOND = timedelta(seconds=1)
_DAY = 86_400
_YEARS_AHEAD = 5  # robfig/cron searches to the end of the fifth year from now, then says never
_LAST_YEAR = 9990  # so that no search runs beyond Python's calendar


@dataclass(frozen=True, slots=True)
class CronSchedule:
    """A rule that tells instants from other instants: an expression, read in a dialect and a time zone.

    Immutable and safe to share between threads.
    """

    expression: str
    dialect: str
    """The dialect it was read in, never `auto`."""

    timezone: str
    """IANA name of the zone its fields are read in; that of a `CRON_TZ=` prefix, where there is one."""

    has_own_zone: bool
    """Whether the expression names its zone itself, by a prefix."""

    fields: Fields | None
    """What each field allows; None for an `@every`."""

    every: timedelta | None
    """The distance of an `@every`, in whole seconds; None for all others."""

    _search: _LocalSearch | None = field(repr=False, compare=False)

    @classmethod
    def parse(cls, expr: str, dialect: str = "auto", timezone: str = "UTC") -> CronSchedule:
        """Read an expression.

        Args:
            expr: The expression, such as `0 5 * * *`, `@daily` or `@every 90s`.
            dialect: `standard`, `seconds`, `robfig-v1`, or `auto`: five fields are `standard`, six `seconds`.
            timezone: IANA name of the zone its fields are read in. A `TZ=` or `CRON_TZ=` prefix has precedence.

        Raises:
            InvalidSchedule: The expression, the dialect or the zone is wrong.
        """
        expression = read_expression(expr, dialect)
        zone = timezone if expression.zone is None else expression.zone
        try:
            check_zone(zone)
        except ValueError as error:
            raise InvalidSchedule(expr, dialect, str(error)) from None
        fields = expression.fields
        return cls(
            expression=expr,
            dialect=expression.dialect,
            timezone=zone,
            has_own_zone=expression.zone is not None,
            fields=fields,
            every=expression.every,
            _search=None if fields is None else _LocalSearch.of(fields),
        )

    def next_after(self, moment: datetime, *, anchor: datetime | None = None) -> datetime | None:
        """Return the first instant at which the rule is due, strictly later than a moment, in UTC and whole seconds.

        A local time that does not exist (spring) is left out, one that exists twice (autumn) counts twice.

        Args:
            moment: An aware datetime.
            anchor: For `@every` only: the instants are then `anchor` plus whole multiples of the distance, wherever `moment`
                lies, so that all who know the anchor agree. Without it the next is `moment` plus the distance, with
                fractions of a second cut (as robfig/cron, where the moment is that of the last run).

        Returns:
            The instant, or None where there is none up to the end of the fifth year from `moment`.

        Raises:
            ValueError: `moment` or `anchor` is naive.
        """
        after = _whole_seconds(moment)
        if self.every is not None:
            distance = self.every // _SECOND
            due = after + distance
            if anchor is not None:
                start = _whole_seconds(anchor)
                due = start + max(1, (after - start) // distance + 1) * distance
            return _EPOCH + timedelta(seconds=due)
        if self._search is None:
            return None
        found = _next_instant(self._search, self.timezone, after + 1)
        return None if found is None else _EPOCH + timedelta(seconds=found)


def _whole_seconds(moment: datetime) -> int:
    if moment.tzinfo is None:
        raise ValueError("a schedule needs an aware datetime, and this one has no time zone")
    since = moment - _EPOCH
    return since.days * _DAY + since.seconds


def _next_instant(search: _LocalSearch, zone: str, at: int) -> int | None:
    """Return the first due instant from `at` on: looks through the zone's spans for a local time that is due.

    Every instant lies in one span, and in a span local time is UTC plus a constant, so no gap or doubled hour is missed.
    """
    if search.never:
        return None
    span = span_at(zone, at)
    position = at + span.offset
    last = _last_second_ahead(position)
    found = search.first_from(position)
    while True:
        if found is not None and found < span.end + span.offset:
            return found - span.offset if found <= last else None
        at = span.end
        span = span_at(zone, at)
        start = at + span.offset
        if start > last:
            return None
        # After a clock set back earlier local times come again; one set forward may have jumped over what was found.
        if start < position or (found is not None and found < start):
            position = start
            found = search.first_from(start)


def _last_second_ahead(local: int) -> int:
    """Return the last local second of the fifth year after that of a local time."""
    year = date.fromordinal(_EPOCH_ORDINAL + local // _DAY).year + _YEARS_AHEAD
    next_new_year = date(min(year, _LAST_YEAR) + 1, 1, 1)
    return (next_new_year.toordinal() - _EPOCH_ORDINAL) * _DAY - 1


@dataclass(frozen=True, slots=True)
class _LocalSearch:
    """Searches a clock without zone for the times at which fields are due, in seconds since 1970 on that clock."""

    seconds: tuple[int, ...]
    """For each value 0-60 the smallest allowed one that is not below it, or -1; `minutes` and `hours` likewise."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: str | None
    """The day fields in croniter's form, or None where every day is due."""

    either_day: bool
    never: bool

    @classmethod
    def of(cls, fields: Fields) -> _LocalSearch:
        every_day, day_fields = _croniter_days(fields)
        clock = (fields.second.values, fields.minute.values, fields.hour.values)
        return cls(
            seconds=_not_below(fields.second.values, 60),
            minutes=_not_below(fields.minute.values, 60),
            hours=_not_below(fields.hour.values, 24),
            days=None if every_day else day_fields,
            either_day=fields.either_day,
            never=not all(clock) or not (every_day or day_fields),
        )

    def first_from(self, local: int) -> int | None:
        """Return the first due local time from one on, or None where the days run out."""
        day, second = divmod(local, _DAY)
        due_day = self._day_from(day)
        if due_day == day:
            time = self._time_from(second)
            if time >= 0:
                return day * _DAY + time
            due_day = self._day_from(day + 1)
        if due_day is None:
            return None
        return due_day * _DAY + self._time_from(0)

    def _day_from(self, day: int) -> int | None:
        return day if self.days is None else _due_day_from(self.days, self.either_day, day)

    def _time_from(self, second_of_day: int) -> int:
        """Return the first due second of the day from one on, or -1."""
        hour, rest = divmod(second_of_day, 3600)
        if self.hours[hour] == hour:
            minute, second = divmod(rest, 60)
            if self.minutes[minute] == minute and self.seconds[second] >= 0:
                return hour * 3600 + minute * 60 + self.seconds[second]
            if self.minutes[minute + 1] >= 0:
                return hour * 3600 + self.minutes[minute + 1] * 60 + self.seconds[0]
            hour += 1
        hour = self.hours[hour]
        return hour if hour < 0 else hour * 3600 + self.minutes[0] * 60 + self.seconds[0]


def _not_below(values: tuple[int, ...], size: int) -> tuple[int, ...]:
    """For each number up to `size` the smallest of the values that is not below it, or -1."""
    return tuple(
        next((value for value in values if value >= number), -1) for number in range(size + 1)
    )


def _croniter_days(fields: Fields) -> tuple[bool, str]:
    """Return whether every day is due, and the day fields as croniter reads them; empty where no day is ever due.

    croniter takes a complete list for a star, which changes nothing where both must match, and is wrong where either may.
    """
    days, months, weekdays = (
        fields.day_of_month.values,
        fields.month.values,
        fields.day_of_week.values,
    )
    if fields.either_day:
        all_days = len(days) == 31 or len(weekdays) == 7
        impossible = not months or not (days or weekdays)
        if all_days:
            days = weekdays = ()
    else:
        all_days = len(days) == 31 and len(weekdays) == 7
        impossible = not (months and days and weekdays)
    if impossible:
        return False, ""
    written = [
        ",".join(map(str, values)) if values and len(values) < whole else "*"
        for values, whole in ((days, 31), (months, 12), (weekdays, 7))
    ]
    return all_days and len(months) == 12, " ".join(written)


@lru_cache(maxsize=4096)
def _due_day_from(day_fields: str, either_day: bool, day: int) -> int | None:
    """Ask croniter for the first due day from one on, in days since 1970.

    It looks one year further than needed, so that the limit is the caller's alone.
    """
    start = _EPOCH + timedelta(days=day, seconds=-1)
    search = croniter(
        f"0 0 {day_fields}",
        start,
        day_or=either_day,
        max_years_between_matches=_YEARS_AHEAD + 1,
    )
    try:
        found: datetime = search.get_next(datetime)
    except CroniterBadDateError:
        return None
    return (found - _EPOCH).days
