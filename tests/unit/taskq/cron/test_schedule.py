"""Cron: the shared cases, the wording of refusals, and the calendar against two slow searches and croniter."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from croniter import CroniterBadDateError, croniter
from hypothesis import example, given, settings
from hypothesis import strategies as st

from taskq.cron import CronSchedule
from taskq.cron.fields import Fields, read_expression
from taskq.errors import InvalidSchedule

CASES = json.loads((Path(__file__).parents[3] / "data" / "cron-cases.json").read_text("utf-8"))
SECOND = timedelta(seconds=1)


def name_of(case: dict[str, Any]) -> str:
    return f"{case['dialect']}:{case['expr']}:{case['tz']}:{case['from']}"


def following(schedule: CronSchedule, start: datetime, count: int) -> list[datetime]:
    found: list[datetime] = []
    moment = schedule.next_after(start)
    while moment is not None and len(found) < count:
        found.append(moment)
        moment = schedule.next_after(moment)
    return found


@pytest.mark.parametrize("case", [c for c in CASES if c["next"] is not None], ids=name_of)
def test_valid_case_is_due_at_the_expected_instants(case: dict[str, Any]) -> None:
    schedule = CronSchedule.parse(case["expr"], case["dialect"], case["tz"])
    expected = [datetime.fromisoformat(text) for text in case["next"]]

    found = following(schedule, datetime.fromisoformat(case["from"]), max(1, len(expected)))

    assert found == expected


@pytest.mark.parametrize("case", [c for c in CASES if c["next"] is None], ids=name_of)
def test_invalid_case_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(InvalidSchedule) as caught:
        CronSchedule.parse(case["expr"], case["dialect"], case["tz"])

    assert caught.value.expression == case["expr"]
    assert caught.value.dialect == case["dialect"]


def test_all_shared_cases_are_there() -> None:
    assert len(CASES) == 255


@pytest.mark.parametrize(
    ("expression", "dialect", "said"),
    [
        ("0 0 * * 7", "standard", "Sunday is 0"),
        ("0 0 * * mon-sun", "standard", "do not wrap"),
        ("0 0 1 january *", "standard", "'january'"),
        ("* * * * * *", "standard", "the dialect is seconds"),
        ("* * * * *", "seconds", "the dialect is standard"),
        ("* * * *", "auto", "five are needed, or six"),
        ("@Daily", "auto", "lower case"),
        ("@reboot", "auto", "no such descriptor"),
        ("@every 1d", "auto", "units h, m, s"),
        ("@every 9999999h", "auto", "too long"),
        ("@every " + "9" * 5000 + "h", "auto", "too long"),
        ("CRON_TZ=UTC * * * * * *", "robfig-v1", "give the zone as timezone"),
        ("CRON_TZ=UTC", "standard", "a blank and the fields"),
        ("CRON_TZ= * * * * *", "standard", "the name of a zone"),
        ("CRON_TZ=Europe/Berln * * * * *", "standard", "'Europe/Berlin'"),
        ("", "auto", "empty"),
        (
            "* * * * *",
            "quartz",
            "no such dialect; choose one of auto, standard, seconds, robfig-v1",
        ),
        ("* * * * *", "robfig", "no such dialect; did you mean 'robfig-v1'?"),
        ("9" * 5000 + " * * * *", "standard", "cannot read"),
        ("\u0663 * * * *", "standard", "cannot read"),
        ("1/2/3 * * * *", "standard", "too many slashes"),
    ],
)
def test_refusal_says_what_to_do(expression: str, dialect: str, said: str) -> None:
    with pytest.raises(InvalidSchedule) as caught:
        CronSchedule.parse(expression, dialect)

    assert said in caught.value.why


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../etc/passwd", "America", "Local", "\0"])
def test_unknown_zone_is_refused(zone: str) -> None:
    with pytest.raises(InvalidSchedule) as caught:
        CronSchedule.parse("* * * * *", "standard", zone)

    assert "unknown time zone" in caught.value.why


def test_auto_takes_five_fields_for_standard_and_six_for_seconds() -> None:
    assert CronSchedule.parse("0 5 * * *").dialect == "standard"
    assert CronSchedule.parse("0 5 * * * *").dialect == "seconds"


def test_prefix_has_precedence_over_the_zone() -> None:
    schedule = CronSchedule.parse("CRON_TZ=Asia/Tokyo 0 5 * * *", timezone="Europe/Berlin")

    assert schedule.timezone == "Asia/Tokyo"


def test_naive_moment_is_refused() -> None:
    with pytest.raises(ValueError, match="aware"):
        CronSchedule.parse("* * * * *").next_after(datetime(2026, 1, 1))  # noqa: DTZ001


def test_result_is_in_utc() -> None:
    schedule = CronSchedule.parse("0 5 * * *", timezone="Asia/Kathmandu")

    found = schedule.next_after(datetime(2026, 1, 1, tzinfo=ZoneInfo("Asia/Kathmandu")))

    assert found is not None
    assert found.tzinfo is timezone.utc


@pytest.mark.parametrize("year", [1, 2, 1600, 1969, 9985, 9998])
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Pacific/Apia"])
def test_far_years_raise_nothing(year: int, zone: str) -> None:
    schedule = CronSchedule.parse("0 0 1 1 1 *", "seconds", zone)

    found = schedule.next_after(datetime(year, 3, 1, tzinfo=timezone.utc))

    assert found is None or found.astimezone(ZoneInfo(zone)).year == year + 1


def test_last_hours_of_the_fifth_year_are_searched_in_zones_behind_utc() -> None:
    schedule = CronSchedule.parse("30 23 31 12 fri", "standard", "America/New_York")
    always = CronSchedule.parse("30 23 31 12 *", "standard", "America/New_York")
    moment = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)

    assert following(always, moment, 6)[5] == datetime(2032, 1, 1, 4, 30, tzinfo=timezone.utc)
    assert schedule.next_after(moment) is not None


class TestEvery:
    START = datetime(2026, 3, 1, 10, 0, 7, 250_000, tzinfo=timezone.utc)

    def test_without_anchor_it_counts_from_the_moment(self) -> None:
        schedule = CronSchedule.parse("@every 15s")

        assert schedule.every == timedelta(seconds=15)
        assert schedule.next_after(self.START) == self.START.replace(microsecond=0) + 15 * SECOND

    @given(
        every=st.integers(1, 100_000),
        offset=st.integers(-1_000_000, 1_000_000),
    )
    @settings(max_examples=50)
    def test_with_anchor_it_keeps_its_phase(self, every: int, offset: int) -> None:
        schedule = CronSchedule.parse(f"@every {every}s")
        moment = self.START + offset * SECOND

        found = schedule.next_after(moment, anchor=self.START)

        assert found is not None
        steps, rest = divmod(found - self.START.replace(microsecond=0), every * SECOND)
        assert rest == timedelta(0)
        assert steps >= 1
        assert found > moment
        assert steps == 1 or found - every * SECOND <= moment

    def test_anchor_changes_nothing_for_other_rules(self) -> None:
        schedule = CronSchedule.parse("0 5 * * *")

        assert schedule.next_after(self.START, anchor=self.START) == schedule.next_after(self.START)


def day_is_due(fields: Fields, day: datetime) -> bool:
    in_month = day.day in fields.day_of_month.values
    in_week = day.isoweekday() % 7 in fields.day_of_week.values
    star = fields.day_of_month.star or fields.day_of_week.star
    by_day = (in_month and in_week) if star else (in_month or in_week)
    return by_day and day.month in fields.month.values


def is_due(fields: Fields, local: datetime) -> bool:
    return (
        local.second in fields.second.values
        and local.minute in fields.minute.values
        and local.hour in fields.hour.values
        and day_is_due(fields, local)
    )


def fields_of(expression: str, dialect: str) -> Fields:
    fields = read_expression(expression, dialect).fields
    assert fields is not None
    return fields


@st.composite
def terms(draw: st.DrawFn, low: int, high: int) -> str:
    kind = draw(st.sampled_from(["*", "*", "?", "value", "range", "step", "from"]))
    first, last = sorted((draw(st.integers(low, high)), draw(st.integers(low, high))))
    step = draw(st.integers(1, high + 2))
    return {
        "*": "*",
        "?": "?",
        "value": str(first),
        "range": f"{first}-{last}",
        "step": f"*/{step}",
        "from": f"{first}/{step}",
    }[kind]


def field_texts(low: int, high: int) -> st.SearchStrategy[str]:
    return st.lists(terms(low, high), min_size=1, max_size=2).map(",".join)


EXPRESSIONS = st.tuples(
    field_texts(0, 59),
    field_texts(0, 59),
    field_texts(0, 23),
    field_texts(1, 31),
    field_texts(1, 12),
    field_texts(0, 6),
).map(" ".join)
DENSE = st.tuples(
    field_texts(0, 59),
    field_texts(0, 59),
    field_texts(0, 4),
    st.just("*"),
    st.just("*"),
    st.just("*"),
).map(" ".join)
SIX_FIELDS = st.sampled_from(["seconds", "robfig-v1"])
CHANGES = st.sampled_from(
    [
        ("Europe/Berlin", datetime(2026, 3, 29, 1, tzinfo=timezone.utc)),
        ("Europe/Berlin", datetime(2026, 10, 25, 1, tzinfo=timezone.utc)),
        ("America/New_York", datetime(2026, 11, 1, 6, tzinfo=timezone.utc)),
        ("Australia/Lord_Howe", datetime(2026, 4, 4, 15, tzinfo=timezone.utc)),
        ("America/Sao_Paulo", datetime(2018, 11, 4, 3, tzinfo=timezone.utc)),
        ("Pacific/Apia", datetime(2011, 12, 30, 10, tzinfo=timezone.utc)),
        ("Africa/Casablanca", datetime(2026, 2, 15, 2, tzinfo=timezone.utc)),
        ("UTC", datetime(2026, 12, 31, 23, tzinfo=timezone.utc)),
    ]
)


@given(expression=DENSE, dialect=SIX_FIELDS, change=CHANGES, before=st.integers(0, 5000))
@settings(max_examples=60)
def test_next_around_a_clock_change_is_what_looking_at_every_second_finds(
    expression: str, dialect: str, change: tuple[str, datetime], before: int
) -> None:
    zone, moment = change[0], change[1] - before * SECOND
    fields = fields_of(expression, dialect)
    seen = (moment + n * SECOND for n in range(1, 7201))

    expected = next((at for at in seen if is_due(fields, at.astimezone(ZoneInfo(zone)))), None)

    found = CronSchedule.parse(expression, dialect, zone).next_after(moment)
    if expected is None:
        assert found is None or found > moment + 7200 * SECOND
    else:
        assert found == expected


@given(
    expression=EXPRESSIONS,
    dialect=SIX_FIELDS,
    moment=st.datetimes(datetime(1971, 1, 1), datetime(2400, 1, 1)),  # noqa: DTZ001
)
@example("0 0 0 */28 2 1", "robfig-v1", datetime(2010, 2, 2))  # noqa: DTZ001
@settings(max_examples=150)
def test_next_in_utc_is_what_looking_at_every_day_finds(
    expression: str, dialect: str, moment: datetime
) -> None:
    moment = moment.replace(tzinfo=timezone.utc)
    fields = fields_of(expression, dialect)

    found = CronSchedule.parse(expression, dialect).next_after(moment)

    assert found == first_by_days(fields, moment)


def first_by_days(fields: Fields, moment: datetime) -> datetime | None:
    """Look at each day up to the end of the fifth year, then at its hours, minutes and seconds."""
    floor = moment.replace(microsecond=0)
    midnight = floor.replace(hour=0, minute=0, second=0)
    while midnight.year <= (floor + SECOND).year + 5:
        if day_is_due(fields, midnight):
            for hour in fields.hour.values:
                for minute in fields.minute.values:
                    for second in fields.second.values:
                        at = midnight.replace(hour=hour, minute=minute, second=second)
                        if at > floor:
                            return at
        midnight += timedelta(days=1)
    return None


@given(
    expression=EXPRESSIONS,
    moment=st.datetimes(datetime(1971, 1, 1), datetime(2400, 1, 1)),  # noqa: DTZ001
)
@settings(max_examples=60)
def test_next_in_utc_is_croniters_given_the_expanded_fields(
    expression: str, moment: datetime
) -> None:
    moment = moment.replace(tzinfo=timezone.utc, microsecond=0)
    fields = fields_of(expression, "seconds")
    parts = (
        fields.minute, fields.hour, fields.day_of_month, fields.month, fields.day_of_week, fields.second
    )  # fmt: skip
    lists = " ".join(",".join(map(str, part.values)) for part in parts)
    whole_day_list = len(fields.day_of_month.values) == 31 or len(fields.day_of_week.values) == 7
    if fields.either_day and whole_day_list:
        return  # croniter takes a complete list for a star
    search = croniter(lists, moment, day_or=fields.either_day, max_years_between_matches=5)

    try:
        expected = search.get_next(datetime)
    except CroniterBadDateError:
        expected = None

    found = CronSchedule.parse(expression, "seconds").next_after(moment)
    if found is None or found.year < moment.year + 5:
        assert found == expected
