"""Many schedules at once: what a load changes, and that each is decided in its time and once."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from taskq.occurrences import Decision, Definition
from taskq.schedule import read_entries
from taskq.timetable import Timetable

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
    return [Definition(entry, "jobs", at, origin) for entry in entries]


def sent(timetable: Timetable, decisions: list[Decision]) -> list[str]:
    """Settle decisions and return the ids of their occurrences."""
    for decision in decisions:
        timetable.settle(decision.state.definition.name, decision)
    return sorted(o.task_id.removeprefix("jobs/") for d in decisions for o in d.occurrences)


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def test_load_tells_what_it_changes() -> None:
    timetable = Timetable()
    timetable.load(FILE, definitions(a="* * * * *", b="* * * * *", c="* * * * *"))

    changes = timetable.load(
        FILE, definitions(after(5), b="* * * * *", c="5 * * * *", d="* * * * *")
    )

    assert (changes.added, changes.changed, changes.removed) == (
        ("jobs/d",),
        ("jobs/c",),
        ("jobs/a",),
    )


def test_same_load_changes_nothing() -> None:
    timetable = Timetable()
    timetable.load(FILE, definitions(a="@every 7s"))
    timetable.take(START)

    changes = timetable.load(FILE, definitions(after(5), a="@every 7s"))

    assert not changes
    assert sent(timetable, timetable.take(after(7))) == ["a@2026-11-23T17:00:07Z"]


def test_load_leaves_other_origins_alone() -> None:
    timetable = Timetable()
    timetable.load("file:one.json", definitions(origin="file:one.json", a="* * * * * *"))

    timetable.load(FILE, definitions(b="* * * * * *"))
    timetable.load(FILE, [])

    assert len(timetable) == 1
    assert "jobs/a" in timetable


def test_next_due_is_the_earliest() -> None:
    timetable = Timetable()
    timetable.load(FILE, definitions(a="*/30 * * * * *", b="*/7 * * * * *", c="0 0 0 31 2 *"))

    assert timetable.take(START) == []
    assert timetable.next_due == after(7)


def test_empty_timetable_is_never_due() -> None:
    assert Timetable().next_due is None


def test_schedule_is_out_until_it_is_settled() -> None:
    timetable = Timetable()
    timetable.load(FILE, definitions(a="* * * * * *"))
    taken = timetable.take(after(1))

    assert timetable.take(after(3)) == []

    assert sent(timetable, taken) == ["a@2026-11-23T17:00:01Z"]
    assert sent(timetable, timetable.take(after(3))) == [
        "a@2026-11-23T17:00:02Z",
        "a@2026-11-23T17:00:03Z",
    ]


def test_change_while_it_is_out_counts_after_it() -> None:
    timetable = Timetable()
    timetable.load(FILE, definitions(a="*/10 * * * * *"))
    taken = timetable.take(after(10))
    timetable.load(FILE, definitions(after(11), a="*/3 * * * * *"))

    assert sent(timetable, taken) == ["a@2026-11-23T17:00:10Z"]

    assert sent(timetable, timetable.take(after(15))) == [
        "a@2026-11-23T17:00:12Z",
        "a@2026-11-23T17:00:15Z",
    ]


def test_schedule_that_was_over_comes_back_by_a_change() -> None:
    timetable = Timetable()
    timetable.load(FILE, definitions(a="0 0 0 31 2 *"))
    assert timetable.take(START) == []
    assert timetable.next_due is None

    timetable.load(FILE, definitions(after(5), a="*/3 * * * * *"))

    assert sent(timetable, timetable.take(after(6))) == ["a@2026-11-23T17:00:06Z"]


def test_change_to_a_rule_that_is_due_much_later_is_no_endless_turn() -> None:
    timetable = Timetable()
    timetable.load(FILE, definitions(a="* * * * * *"))
    timetable.load(FILE, definitions(after(5), a="0 0 0 1 1 *"))

    assert sent(timetable, timetable.take(after(60))) == [
        f"a@2026-11-23T17:00:0{n}Z" for n in range(1, 6)
    ]
    assert timetable.take(after(61)) == []


def test_removed_schedule_is_not_settled() -> None:
    timetable = Timetable()
    timetable.load(FILE, definitions(a="* * * * * *"))
    taken = timetable.take(after(1))

    timetable.load(FILE, [])
    sent(timetable, taken)

    assert timetable.next_due is None


def test_limit_stops_between_schedules() -> None:
    timetable = Timetable()
    timetable.load(FILE, loaded({f"a{n}": "* * * * * *" for n in range(5)}))

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
@settings(max_examples=40, deadline=None)
def test_many_in_turns_are_the_same_as_each_alone(crons: list[str], steps: list[float]) -> None:
    named = {f"a{n}": cron for n, cron in enumerate(crons)}
    together = Timetable()
    together.load(FILE, loaded(named))
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
        alone.load(FILE, loaded({id: cron}))
        expected += sent(alone, alone.take(moment, watching_since=START))
    assert sorted(found) == sorted(expected)
