"""Schedules in words."""

from __future__ import annotations

import pytest

from taskq.cron import CronSchedule
from taskq.cron.words import describe


@pytest.mark.parametrize(
    ("expression", "dialect", "words"),
    [
        ("* * * * * *", "seconds", "Every second, on every day (UTC)."),
        ("* 5 * * * *", "seconds", "Every second of minute 5 of every hour, on every day (UTC)."),
        ("0 5 * * *", "standard", "At 05:00:00, on every day (UTC)."),
        (
            "0 5 * * *",
            "robfig-v1",
            "At second 0 of minute 5 of every hour, on every day (UTC).",
        ),
        (
            "*/15 9-17 * * *",
            "standard",
            "At second 0 of minutes 0, 15, 30 and 45 of hours 9-17, on every day (UTC).",
        ),
        (
            "0 0 1,15 * MON",
            "standard",
            "At 00:00:00, on days 1 and 15 of the month or on Monday (UTC).",
        ),
        (
            "0 0 0 */10 * SUN",
            "robfig-v1",
            "At 00:00:00, on days 1, 11, 21 and 31 of the month if it is Sunday (UTC).",
        ),
        ("0 0 1-31 * MON", "standard", "At 00:00:00, on every day (UTC)."),
        (
            "0 0,12 ? jan,jul mon-fri",
            "standard",
            "At 00:00:00 and 12:00:00, on Monday, Tuesday, Wednesday, Thursday and Friday, in January and July (UTC).",
        ),
        ("CRON_TZ=Asia/Tokyo @daily", "auto", "At 00:00:00, on every day (Asia/Tokyo)."),
        (
            "@every 1h0m5s",
            "auto",
            "Every 1 h 5 s, counted from when it is loaded (or from its start).",
        ),
        (", 5 * * *", "standard", "Never: a field allows no value."),
        ("0 0 , * ,", "standard", "Never: a field allows no value."),
        ("0 0 , * MON", "standard", "At 00:00:00, on Monday (UTC)."),
    ],
)
def test_schedule_is_described(expression: str, dialect: str, words: str) -> None:
    assert describe(CronSchedule.parse(expression, dialect)) == words
