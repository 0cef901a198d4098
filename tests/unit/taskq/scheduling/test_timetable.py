"""Many schedules at once: what a load changes, and that each is decided in its time and once."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from taskq.scheduling.occurrences import Definition
from taskq.scheduling.schedule import read_entries
from taskq.scheduling.schedulelog import Pause
from taskq.scheduling.timetable import Change, Timetable

START = datetime(2026, 11, 23, 17, 0, tzinfo=timezone.utc)
SECOND = timedelta(seconds=1)
FILE = "file:jobs.json"


def definitions(at: datetime = START, /, origin: str = FILE, **crons: str) -> list[Definition]:
    return loaded(crons, at, origin)


def loaded(crons: dict[str, str], at: datetime = START, origin: str = FILE) -> list[Definition]:
    items: list[dict[str, Any]] = [
        {"id": id, "cron": cron, "task": "t"} for id, cron in crons.items()
    ]
    entries, problems = read_entries(items)
    assert problems == []
    return [Definition(entry, "jobs", at, origin, born=START) for entry in entries]


def put(timetable: Timetable, definitions: list[Definition]) -> None:
    for each in definitions:
        timetable.define(each)


def sent(timetable: Timetable, changes: list[Change]) -> list[str]:
    """Settle decisions and return the ids of their occurrences."""
    for change in changes:
        timetable.settle(change.name, change.decision)
    return sorted(
        occurrence.task_id.removeprefix("jobs/")
        for change in changes
        for occurrence in change.decision.occurrences
    )


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def test_next_due_is_the_earliest() -> None:
    timetable = Timetable()
    put(timetable, definitions(a="*/30 * * * * *", b="*/7 * * * * *", c="0 0 0 31 2 *"))

    assert sent(timetable, timetable.take(START)) == []
    assert timetable.next_due == after(7)


def test_empty_timetable_is_never_due() -> None:
    assert Timetable().next_due is None


def test_schedule_is_out_until_it_is_settled() -> None:
    timetable = Timetable()
    put(timetable, definitions(a="* * * * * *"))
    taken = timetable.take(after(1))

    assert timetable.take(after(3)) == []

    assert sent(timetable, taken) == ["a@2026-11-23T17:00:01Z"]
    assert sent(timetable, timetable.take(after(3))) == [
        "a@2026-11-23T17:00:02Z",
        "a@2026-11-23T17:00:03Z",
    ]


def test_change_while_it_is_out_counts_after_it() -> None:
    timetable = Timetable()
    put(timetable, definitions(a="*/10 * * * * *"))
    taken = timetable.take(after(10))
    put(timetable, definitions(after(11), a="*/3 * * * * *"))

    assert sent(timetable, taken) == ["a@2026-11-23T17:00:10Z"]

    assert sent(timetable, timetable.take(after(15))) == [
        "a@2026-11-23T17:00:12Z",
        "a@2026-11-23T17:00:15Z",
    ]


def test_schedule_that_was_over_comes_back_by_a_change() -> None:
    timetable = Timetable()
    put(timetable, definitions(a="0 0 0 31 2 *"))
    assert sent(timetable, timetable.take(START)) == []
    assert timetable.next_due is None

    put(timetable, definitions(after(5), a="*/3 * * * * *"))

    assert sent(timetable, timetable.take(after(6))) == ["a@2026-11-23T17:00:06Z"]


def test_change_to_a_rule_that_is_due_much_later_is_no_endless_turn() -> None:
    timetable = Timetable()
    put(timetable, definitions(a="* * * * * *"))
    put(timetable, definitions(after(5), a="0 0 0 1 1 *"))

    assert sent(timetable, timetable.take(after(60))) == [
        f"a@2026-11-23T17:00:0{n}Z" for n in range(1, 6)
    ]
    assert timetable.take(after(61)) == []


def test_removed_schedule_is_not_settled() -> None:
    timetable = Timetable()
    put(timetable, definitions(a="* * * * * *"))
    taken = timetable.take(after(1))

    timetable.remove("jobs/a")
    sent(timetable, taken)

    assert timetable.next_due is None


def test_limit_stops_between_schedules() -> None:
    timetable = Timetable()
    put(timetable, loaded({f"a{n}": "* * * * * *" for n in range(5)}))

    first = timetable.take(after(1), limit=3)
    second = timetable.take(after(1), limit=3)

    assert [len(first), len(second)] == [3, 2]


@given(
    crons=st.lists(
        st.sampled_from(
            ["* * * * * *", "*/7 * * * * *", "@every 13s", "0 * * * * *", "0 0 0 31 2 *"]
        ),
        min_size=1,
        max_size=5,
    ),
    steps=st.lists(st.floats(0.001, 30), min_size=1, max_size=20),
)
@settings(max_examples=40)
def test_many_in_turns_are_the_same_as_each_alone(crons: list[str], steps: list[float]) -> None:
    named = {f"a{n}": cron for n, cron in enumerate(crons)}
    together = Timetable()
    put(together, loaded(named))
    found: list[str] = []
    moment = START
    for step in steps:
        moment += timedelta(seconds=step)
        due = together.next_due
        taken = together.take(moment)
        assert due is not None or not taken
        found += sent(together, taken)

    expected: list[str] = []
    for id, cron in named.items():
        alone = Timetable()
        put(alone, loaded({id: cron}))
        while changes := alone.take(moment, watching_since=START):
            expected += sent(alone, changes)
    assert sorted(found) == sorted(expected)


class TestPreparation:
    def test_what_was_decided_before_its_time_is_taken_in_time(self) -> None:
        timetable = Timetable()
        put(timetable, definitions(a="*/5 * * * * *"))
        sent(timetable, timetable.take(START))

        early = timetable.prepare(after(4), 10)
        soon = timetable.next_preparation
        (prepared,) = timetable.prepare(after(4.5), 10)

        assert (early, soon) == ([], after(4.2))
        assert timetable.take(after(4.9)) == []
        (taken,) = timetable.take(after(5.1))
        assert taken.decision is prepared.decision
        assert sent(timetable, [taken]) == ["a@2026-11-23T17:00:05Z"]

    def test_it_is_decided_anew_where_more_is_due(self) -> None:
        timetable = Timetable()
        put(timetable, definitions(a="* * * * * *"))
        sent(timetable, timetable.take(START))
        timetable.prepare(after(0.5), 10)

        assert len(sent(timetable, timetable.take(after(3)))) == 3

    def test_it_is_decided_anew_after_a_change(self) -> None:
        timetable = Timetable()
        put(timetable, definitions(a="*/5 * * * * *"))
        sent(timetable, timetable.take(START))
        timetable.prepare(after(4.5), 10)
        put(timetable, definitions(after(4.6), a="*/7 * * * * *"))

        assert sent(timetable, timetable.take(after(8))) == ["a@2026-11-23T17:00:07Z"]

    def test_it_is_decided_anew_after_a_pause(self) -> None:
        timetable = Timetable()
        put(timetable, definitions(a="*/5 * * * * *"))
        sent(timetable, timetable.take(START))
        timetable.prepare(after(4.5), 10)
        timetable.set_pause("jobs/a", Pause(after(4.6)))

        assert sent(timetable, timetable.take(after(8))) == []

    def test_no_more_than_asked_for(self) -> None:
        timetable = Timetable()
        put(timetable, loaded({f"a{n}": "* * * * * *" for n in range(5)}))
        sent(timetable, timetable.take(START))

        assert [len(timetable.prepare(after(0.5), 3)) for _ in range(3)] == [3, 2, 0]
