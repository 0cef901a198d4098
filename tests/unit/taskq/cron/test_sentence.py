"""Schedules in a person's words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from taskq.cron import CronSchedule
from taskq.cron.sentence import plain_expression, sentence
from taskq.cron.words import describe
from taskq.errors import InvalidSchedule

CASES = Path(__file__).parents[3] / "data" / "cron-cases.json"


@pytest.mark.parametrize(
    ("expression", "dialect", "words"),
    [
        ("* * * * * *", "robfig-v1", "Every second (UTC)."),
        ("*/5 * * * * *", "seconds", "Every 5 seconds (UTC)."),
        ("* * * * *", "standard", "Every minute (UTC)."),
        ("*/15 * * * *", "standard", "Every 15 minutes (UTC)."),
        ("*/5 9-17 * * *", "standard", "Every 5 minutes, between 09:00 and 17:59 (UTC)."),
        ("0 5 * * *", "standard", "At 05:00 (UTC)."),
        ("0 5 * * *", "robfig-v1", "At 5 minutes past the hour (UTC)."),
        ("30 0 5 * * *", "seconds", "At 05:00:30 (UTC)."),
        ("0 8,12 * * mon-fri", "standard", "At 08:00 and 12:00, Monday through Friday (UTC)."),
        ("0 */2 * * *", "standard", "Every 2 hours (UTC)."),
        ("0 0 1,15 * *", "standard", "At 00:00, on day 1 and 15 of the month (UTC)."),
        ("0 0 ? jan,jul sun", "standard", "At 00:00, only on Sunday, only in January and July (UTC)."),
        ("@hourly", "auto", "Every hour (UTC)."),
        ("CRON_TZ=Asia/Tokyo @daily", "auto", "At 00:00 (Asia/Tokyo)."),
    ],
)  # fmt: skip
def test_plain_schedules_are_told_in_everyday_words(
    expression: str, dialect: str, words: str
) -> None:
    assert sentence(CronSchedule.parse(expression, dialect)) == words


@pytest.mark.parametrize(
    ("expression", "dialect"),
    [
        ("*/7 * * * * *", "seconds"),  # not every 7 seconds: 56 is followed by 0
        ("0 0 1,15 * MON", "standard"),  # one of the day fields is enough
        ("0 0 0 */10 * SUN", "robfig-v1"),  # both must match
        ("0 10,20 9,17 * * *", "seconds"),
        ("5 10 9,17 * * *", "seconds"),
        ("1-5 0 0 * * *", "seconds"),
        (", 5 * * *", "standard"),
        ("@every 90s", "auto"),
    ],
)
def test_what_would_be_told_wrong_is_told_in_our_own_words(expression: str, dialect: str) -> None:
    schedule = CronSchedule.parse(expression, dialect)

    assert sentence(schedule) == describe(schedule)


def test_a_step_of_days_is_told_by_its_days() -> None:
    words = sentence(CronSchedule.parse("0 0 */10 * *", "standard"))

    assert words == "At 00:00, on day 1, 11, 21, and 31 of the month (UTC)."


def test_a_step_that_does_not_divide_the_hour_is_told_by_its_minutes() -> None:
    words = sentence(CronSchedule.parse("*/25 * * * *", "standard"))

    assert words == "At 0, 25, and 50 minutes past the hour (UTC)."


def test_what_is_told_means_the_same_in_all_shared_cases() -> None:
    seen = 0
    for case in json.loads(CASES.read_text("utf-8")):
        try:
            schedule = CronSchedule.parse(case["expr"], case["dialect"])
        except InvalidSchedule:
            continue
        plain = None if schedule.fields is None else plain_expression(schedule.fields)
        if plain is None or schedule.fields is None:
            continue
        again = CronSchedule.parse(plain, "seconds").fields
        assert again is not None
        seen += 1
        own = schedule.fields
        for name in ("second", "minute", "hour", "month"):
            assert getattr(again, name).values == getattr(own, name).values, case
        if not own.either_day:
            assert again.day_of_month.values == own.day_of_month.values, case
            assert again.day_of_week.values == own.day_of_week.values, case
    assert seen > 50
