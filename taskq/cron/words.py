"""A cron schedule in words. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from taskq.cron.fields import Fields
from taskq.cron.schedule import CronSchedule

_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_TIMES_SHOWN = 6  # more times of the day than this are told by their fields


def describe(schedule: CronSchedule) -> str:
    """Return one sentence that says when a schedule is due."""
    if schedule.every is not None:
        return f"Every {_duration(schedule.every)}, counted from when it is loaded (or from its start)."
    fields = schedule.fields
    if fields is None or _is_empty(fields):
        return "Never: a field allows no value."
    return f"{_times(fields)}, {_days(fields)} ({schedule.timezone})."


def _is_empty(fields: Fields) -> bool:
    clock = (fields.second, fields.minute, fields.hour, fields.month)
    if not all(field.values for field in clock):
        return True
    days, weekdays = fields.day_of_month.values, fields.day_of_week.values
    return not (days or weekdays) if fields.either_day else not (days and weekdays)


def _duration(every: timedelta) -> str:
    seconds = int(every.total_seconds())
    parts = []
    for size, unit in ((3600, "h"), (60, "min"), (1, "s")):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts)


def _times(fields: Fields) -> str:
    seconds, minutes, hours = fields.second.values, fields.minute.values, fields.hour.values
    if len(seconds) * len(minutes) * len(hours) <= _TIMES_SHOWN:
        times = [f"{h:02}:{m:02}:{s:02}" for h in hours for m in minutes for s in seconds]
        return f"At {_listed(times)}"
    if len(seconds) == len(minutes) == 60 and len(hours) == 24:
        return "Every second"
    start = "Every second" if len(seconds) == 60 else f"At {_part('second', seconds, 60)}"
    return f"{start} of {_part('minute', minutes, 60)} of {_part('hour', hours, 24)}"


def _part(name: str, values: Sequence[int], whole: int) -> str:
    if len(values) == whole:
        return f"every {name}"
    plural = "s" if len(values) > 1 else ""
    return f"{name}{plural} {_listed(_ranges(values))}"


def _days(fields: Fields) -> str:
    days, weekdays = fields.day_of_month.values, fields.day_of_week.values
    every_day, every_weekday = len(days) == 31, len(weekdays) == 7
    in_month = f"on {_part('day', days, 31)} of the month"
    in_week = f"on {_listed([_WEEKDAYS[day] for day in weekdays])}"
    if fields.either_day:
        told = [text for text, values in ((in_month, days), (in_week, weekdays)) if values]
        words = "on every day" if every_day or every_weekday else " or ".join(told)
    elif every_day and every_weekday:
        words = "on every day"
    elif every_day:
        words = in_week
    else:
        words = in_month if every_weekday else f"{in_month} if it is {in_week[3:]}"
    months = fields.month.values
    if len(months) == 12:
        return words
    return f"{words}, in {_listed([_MONTHS[month - 1] for month in months])}"


def _ranges(values: Sequence[int]) -> list[str]:
    """Write runs of three or more values as ranges."""
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    texts: list[str] = []
    for run in runs:
        texts += [f"{run[0]}-{run[-1]}"] if len(run) > 2 else map(str, run)
    return texts


def _listed(texts: Sequence[str]) -> str:
    if len(texts) < 2:
        return "".join(texts)
    return f"{', '.join(texts[:-1])} and {texts[-1]}"
