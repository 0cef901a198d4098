"""A cron schedule as one says it: by cron-descriptor where its words are right, in our own words where they would not be.

cron-descriptor reads one dialect, and of some expressions it says what they do not mean: a step that does not divide its range
("every 7 minutes"), a step of days ("every 2 days"), two day fields (one may do, or both must: it reads alike). So it never sees an
expression that somebody wrote: it gets one that is made of the values which the schedule's own dialect allows, and only if it
is of a shape whose words were checked. See docs/decisions/0009-words-for-schedules.md. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from taskq.cron.fields import Fields
from taskq.cron.schedule import CronSchedule
from taskq.cron.words import describe

_MOST_TIMES = 6  # hours that are listed one by one; more are told by ranges


def sentence(schedule: CronSchedule) -> str:
    """Return one sentence that says when a schedule is due, in its time zone."""
    expression = None if schedule.fields is None else plain_expression(schedule.fields)
    if expression is None:
        return describe(schedule)
    return f"{_words(expression)} ({schedule.timezone})."


def plain_expression(fields: Fields) -> str | None:
    """Return six fields, second first, that any reader of cron takes for what these fields mean; None if there are none such."""
    second, minute, hour = (
        _Part(fields.second.values, 60),
        _Part(fields.minute.values, 60),
        _Part(fields.hour.values, 24),
    )
    days, month = _days(fields), _Part(fields.month.values, 12, first=1)
    if not all(part.values for part in (second, minute, hour, month)) or days is None:
        return None
    if not _is_told_right(second, minute, hour):
        return None
    day, weekday = days
    parts = (second, minute, hour, day, month, weekday)
    return " ".join(part.text() for part in parts)


@dataclass(frozen=True, slots=True)
class _Part:
    """What one field allows, and how it is written."""

    values: tuple[int, ...]
    size: int
    """How many values there are."""

    first: int = 0
    """The lowest there is."""

    @property
    def is_full(self) -> bool:
        """Whether it allows all there are."""
        return len(self.values) == self.size

    @property
    def is_one(self) -> bool:
        """Whether it allows a single one."""
        return len(self.values) == 1

    @property
    def step(self) -> int:
        """The distance of values that go evenly round the whole clock; 0 for others."""
        count = len(self.values)
        if self.first or count < 2 or self.size % count:
            return 0
        step = self.size // count
        return step if self.values == tuple(range(0, self.size, step)) else 0

    @property
    def is_run(self) -> bool:
        """Whether it is a range of three or more."""
        return len(self.values) > 2 and self.values[-1] - self.values[0] == len(self.values) - 1

    def text(self) -> str:
        """Return the field."""
        if self.is_full:
            return "*"
        if self.step:
            return f"*/{self.step}"
        if self.is_run:
            return f"{self.values[0]}-{self.values[-1]}"
        return ",".join(map(str, self.values))


def _days(fields: Fields) -> tuple[_Part, _Part] | None:
    """Return the day fields, at least one of them open; None where both count."""
    day = _Part(fields.day_of_month.values, 31, first=1)
    weekday = _Part(fields.day_of_week.values, 7)
    if fields.either_day and (day.is_full or weekday.is_full):
        return _Part(tuple(range(1, 32)), 31, first=1), _Part(tuple(range(7)), 7)
    if not day.values or not weekday.values or not (day.is_full or weekday.is_full):
        return None
    return day, weekday


def _is_told_right(second: _Part, minute: _Part, hour: _Part) -> bool:
    """Return whether cron-descriptor's words for the time of day were checked; tests hold an example of each shape."""
    if second.is_full or second.step:
        return minute.is_full and hour.is_full
    if second.values != (0,):
        return second.is_one and minute.is_one and hour.is_one
    has_span = hour.is_full or (hour.is_run and not hour.step)
    if minute.is_full or minute.step:
        return has_span
    if minute.is_one:
        return has_span or bool(hour.step) or len(hour.values) <= _MOST_TIMES
    return has_span


def _words(expression: str) -> str:
    """Ask cron-descriptor."""
    # Only `schedule explain` needs it, and it costs 40 ms.
    from cron_descriptor import ExpressionDescriptor, Options

    options = Options()
    options.use_24hour_time_format = True
    options.locale_code = "en_US"  # not the caller's: the rest is English
    words: str = ExpressionDescriptor(expression, options).get_description()
    return words
