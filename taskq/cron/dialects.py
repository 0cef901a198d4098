"""What five fields mean in the other dialect that takes five: a line copied from one to the other is read without complaint.

Pure.
"""

from __future__ import annotations

from taskq.cron.schedule import CronSchedule
from taskq.errors import InvalidSchedule

_OTHER = {"standard": "robfig-v1", "robfig-v1": "standard"}
_FIELDS = 5


def read_elsewhere(schedule: CronSchedule) -> CronSchedule | None:
    """Return the same five fields as the other dialect reads them, if it takes them and they mean something else there."""
    other = _OTHER.get(schedule.dialect)
    words = schedule.expression.split()
    if other is None or schedule.has_own_zone or len(words) != _FIELDS:
        return None
    try:
        found = CronSchedule.parse(schedule.expression, other, schedule.timezone)
    except InvalidSchedule:
        return None
    return None if _meaning(found) == _meaning(schedule) else found


def _meaning(schedule: CronSchedule) -> object:
    fields = schedule.fields
    if fields is None:
        return schedule.every
    values = [
        part.values
        for part in (
            fields.second,
            fields.minute,
            fields.hour,
            fields.day_of_month,
            fields.month,
            fields.day_of_week,
        )
    ]
    return values, fields.either_day
