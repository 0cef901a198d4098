"""Rules beside a search that looks at every second: around each clock change of ten zones from 2020 to 2030, and at random times.

The search knows nothing of days to come or of spans: it asks the zone for the local time of each minute, whose seconds follow one
another, as no clock changes within a minute in these years. The rules are random with a fixed seed, so that a failure comes again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import islice
from random import Random
from zoneinfo import ZoneInfo

import pytest

from taskq.cron import CronSchedule
from taskq.cron.fields import Fields

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
MINUTE = 60
HOUR = 3600
FIRST = int(datetime(2020, 1, 1, tzinfo=timezone.utc).timestamp())
END = int(datetime(2031, 1, 1, tzinfo=timezone.utc).timestamp())

ZONES = [
    "Africa/Casablanca",  # by the moon
    "America/Havana",  # at midnight
    "America/New_York",
    "America/Nuuk",  # another standard time since 2023
    "America/Santiago",
    "Antarctica/Troll",  # by two hours
    "Asia/Gaza",  # up to four in a year
    "Asia/Tehran",  # half hours, until 2022
    "Australia/Lord_Howe",  # by half an hour
    "Europe/Berlin",
]

RULES_A_CHANGE = 25
RULES_A_ZONE = 400
MOST = 200
"""Instants of a rule that are compared in a window; some are due each second."""


@dataclass(frozen=True)
class Window:
    """Some hours of a zone: each minute with its local time."""

    start: int
    end: int
    minutes: Sequence[tuple[int, datetime]]

    def due(self, fields: Fields) -> Iterator[int]:
        """Look at every second."""
        for at, local in self.minutes:
            if (
                local.minute in fields.minute.values
                and local.hour in fields.hour.values
                and day_is_due(fields, local)
            ):
                yield from (at + n for n in range(MINUTE) if n in fields.second.values)


def window(zone: str, start: int, end: int) -> Window:
    place = ZoneInfo(zone)
    minutes = [(at, utc(at).astimezone(place)) for at in range(start, end, MINUTE)]
    assert not any(local.second for _, local in minutes)
    return Window(start, end, minutes)


def day_is_due(fields: Fields, day: datetime) -> bool:
    in_month = day.day in fields.day_of_month.values
    in_week = day.isoweekday() % 7 in fields.day_of_week.values
    star = fields.day_of_month.star or fields.day_of_week.star
    by_day = (in_month and in_week) if star else (in_month or in_week)
    return by_day and day.month in fields.month.values


def utc(seconds: int) -> datetime:
    return EPOCH + timedelta(seconds=seconds)


def changes(zone: str) -> list[int]:
    """Return the instants of all changes of a zone's clock: looks at it every three hours, and halves where it differs."""
    place = ZoneInfo(zone)
    found: list[int] = []
    for before in range(FIRST, END, 3 * HOUR):
        low, high = before, before + 3 * HOUR
        if utc(low).astimezone(place).utcoffset() == utc(high).astimezone(place).utcoffset():
            continue
        while high - low > 1:
            middle = (low + high) // 2
            is_old = (
                utc(middle).astimezone(place).utcoffset() == utc(low).astimezone(place).utcoffset()
            )
            low, high = (middle, high) if is_old else (low, middle)
        found.append(high)
    return found


def term(random: Random, low: int, high: int) -> str:
    first, last = sorted((random.randint(low, high), random.randint(low, high)))
    step = random.randint(1, high + 2)
    forms = ["*", "*", "*", "?", str(first), f"{first}-{last}", f"*/{step}", f"{first}/{step}"]
    return random.choice(forms)


def field(random: Random, low: int, high: int) -> str:
    return ",".join(term(random, low, high) for _ in range(random.choice((1, 1, 2))))


def rule(random: Random, zone: str, *, hours: tuple[int, int] = (0, 23)) -> CronSchedule:
    """Return a random rule; half of them leave days and months open, so that they are due in most windows."""
    dialect = random.choice(("seconds", "robfig-v1", "standard"))
    fields = [field(random, 0, 59), field(random, 0, 59), field(random, *hours)]
    if random.random() < 0.5:
        fields += ["*", "*", "*"]
    else:
        fields += [field(random, 1, 31), field(random, 1, 12), field(random, 0, 6)]
    return CronSchedule.parse(" ".join(fields[dialect == "standard" :]), dialect, zone)


def assert_same(rule: CronSchedule, window: Window, start: int) -> None:
    """From a moment on, just before a second, the rule is due when the search says so, up to the end of the window."""
    assert rule.fields is not None
    expected = list(islice((at for at in window.due(rule.fields) if at >= start), MOST))
    found: list[int] = []
    moment = utc(start - 1)
    while len(found) < MOST:
        following = rule.next_after(moment)
        if following is None or following >= utc(window.end):
            break
        found.append(int(following.timestamp()))
        moment = following
    assert found == expected, (rule.expression, rule.dialect, rule.timezone, utc(start).isoformat())


@pytest.mark.parametrize("zone", ZONES)
def test_around_each_clock_change_rules_are_due_when_looking_at_every_second_finds(
    zone: str,
) -> None:
    random = Random(zone)
    instants = changes(zone)
    assert instants

    for change in instants:
        around = window(zone, change - 3 * HOUR, change + 4 * HOUR)
        for _ in range(RULES_A_CHANGE):
            each = rule(random, zone, hours=random.choice(((0, 4), (0, 23))))
            assert_same(each, around, change - random.randrange(3 * HOUR))


@pytest.mark.parametrize("zone", [*ZONES, "UTC", "Asia/Kathmandu"])
def test_at_any_time_rules_are_due_when_looking_at_every_second_finds(zone: str) -> None:
    random = Random(f"any time in {zone}")

    for turn in range(RULES_A_ZONE):
        each = rule(random, zone)
        start = random.randrange(FIRST, END, MINUTE)
        found = each.next_after(utc(start)) if turn % 2 else None
        if (
            found is not None
        ):  # most rules are due seldom, and so in few windows that are taken blindly
            start = int(found.timestamp()) // MINUTE * MINUTE - 2 * HOUR
        around = window(zone, start, start + 4 * HOUR)
        assert_same(each, around, start + random.randrange(MINUTE))
