"""A shard of schedules: each planned instant once, whoever dies between two transactions, and whatever is loaded meanwhile."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskq.errors import InvalidQueueName
from taskq.scheduling.occurrences import begin, planned_instants
from taskq.scheduling.schedulelog import Part, Pause, encode, key_of, read_state
from tests.support.clock import START
from tests.support.schedulelog import Owner, ScheduleLog, definition

STATE = key_of("jobs/a", Part.STATE)
PAUSE = key_of("jobs/a", Part.PAUSE)


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def seconds_of(log: ScheduleLog) -> list[int]:
    """Return the seconds of the occurrences that were sent, counted from the start."""
    found = []
    for id in log.ids:
        planned = datetime.fromisoformat(id.partition("@")[2].replace("Z", "+00:00"))
        found.append(round((planned - START).total_seconds()))
    return found


def test_each_second_is_sent_once() -> None:
    log = ScheduleLog()
    log.define(definition())
    owner = Owner(log, START)

    for half in range(8):
        owner.fire(after(half / 2))

    assert seconds_of(log) == [1, 2, 3]


def test_state_is_written_at_first_sight_so_that_its_phase_is_known() -> None:
    log = ScheduleLog()
    log.define(definition(cron="@every 10s"))

    Owner(log, START).fire(START)

    log.define(definition(cron="@every 10s", at=after(3), born=START, args=[1]))
    log.compact()
    Owner(log, START).fire(after(21))
    assert seconds_of(log) == [10, 20]


def test_it_says_when_it_wants_to_be_asked() -> None:
    log = ScheduleLog()
    log.define(definition(cron="*/7 * * * * *"))
    owner = Owner(log, START)
    owner.fire(START)

    soon, due = int(after(6.2).timestamp() * 1000), int(after(7).timestamp() * 1000)
    assert owner.shard.next_due() == soon
    owner.shard.wanted(soon)
    assert owner.shard.next_due() == due
    assert len(owner.shard) == 1


def test_heir_goes_on_where_the_log_ends() -> None:
    log = ScheduleLog()
    log.define(definition())
    Owner(log, START).fire(after(3))

    Owner(log, after(10)).fire(after(12))

    assert seconds_of(log) == list(range(1, 13))


def test_of_many_states_in_the_log_the_last_one_counts() -> None:
    log = ScheduleLog()
    log.define(definition())
    owner = Owner(log, START)
    for second in range(1, 50):
        owner.fire(after(second))

    Owner(log, START).fire(after(52))

    assert seconds_of(log) == list(range(1, 53))


def test_what_was_taken_and_not_committed_is_fired_by_the_heir() -> None:
    log = ScheduleLog()
    log.define(definition())
    dead = Owner(log, START)
    dead.fire(after(1))
    assert dead.take(after(3))

    Owner(log, START).fire(after(3))

    assert seconds_of(log) == [1, 2, 3]


def test_own_state_that_comes_back_late_takes_nothing_back() -> None:
    log = ScheduleLog()
    log.define(definition())
    owner = Owner(log, START)
    for second in (1, 2):  # the second is decided before the record of the first has come back
        firings = owner.shard.take(int(after(second).timestamp() * 1000), 10) or owner.take(
            after(second)
        )
        log.commit(firings)
        owner.shard.settle(firings)

    owner.fire(after(4))

    assert seconds_of(log) == [1, 2, 3, 4]


def test_last_twenty_stand_in_the_state() -> None:
    log = ScheduleLog()
    log.define(definition())

    Owner(log, START).fire(after(30))

    value = [record.value for record in log.records if record.key == STATE][-1]
    assert value is not None
    fired = read_state(value).fired
    assert [each.planned for each in fired] == [after(n) for n in range(11, 31)]
    assert {each.sent for each in fired} == {after(30)}


def test_what_was_built_before_its_time_says_when_each_of_the_last_ones_was_sent() -> None:
    log = ScheduleLog()
    log.define(definition())
    owner = Owner(log, START)
    for number in range(4):
        owner.fire(after(number + 0.75))  # decided, for the next second
        owner.fire(after(number + 1.25))

    value = next(record.value for record in reversed(log.records) if record.key == STATE)

    assert value is not None
    fired = read_state(value).fired
    assert [each.sent for each in fired] == [after(number + 1.25) for number in range(4)]


def test_many_that_are_due_are_taken_in_parts() -> None:
    log = ScheduleLog()
    log.define(*(definition(f"s{n}") for n in range(20)))
    owner = Owner(log, START)
    owner.fire(START)

    firings = owner.take(after(5), 7)

    assert sum(len(each.messages) for each in firings) in range(7, 12)


class TestRemoval:
    def test_state_and_pause_go_with_the_definition(self) -> None:
        log = ScheduleLog()
        log.define(definition())
        log.put(PAUSE, encode(Pause(after(50)).to_json()))
        owner = Owner(log, START)
        owner.fire(after(2))

        log.remove("jobs/a")
        owner.fire(after(4))

        log.compact()
        assert log.records == []
        assert seconds_of(log) == [1, 2]

    def test_heir_takes_out_what_a_dead_owner_left(self) -> None:
        log = ScheduleLog()
        log.define(definition())
        Owner(log, START).fire(after(2))
        log.remove("jobs/a")
        log.compact()

        Owner(log, START).fire(after(4))

        log.compact()
        assert log.records == []

    def test_schedule_that_is_added_again_has_no_old_part(self) -> None:
        log = ScheduleLog()
        log.define(definition())
        Owner(log, START).fire(after(2))
        log.remove("jobs/a")
        log.define(definition(at=after(100), cron="*/2 * * * * *"))

        Owner(log, START).fire(after(104))

        assert seconds_of(log) == [1, 2, 102, 104]

    def test_it_has_none_either_where_the_removal_is_not_in_the_log_any_more(self) -> None:
        log = ScheduleLog()
        log.define(definition())
        Owner(log, START).fire(after(2))
        log.remove("jobs/a")
        log.define(definition(at=after(100)))
        log.compact()

        Owner(log, START).fire(after(101))

        assert seconds_of(log) == [1, 2, 101]

    def test_one_that_is_added_by_a_slow_clock_repeats_nothing(self) -> None:
        log = ScheduleLog()
        log.define(definition())
        owner = Owner(log, START)
        owner.fire(after(10))
        log.remove("jobs/a")
        owner.fire(after(10))
        log.define(definition(at=after(7)))

        owner.fire(after(12))

        assert seconds_of(log) == list(range(1, 13))


class TestLoadsAtOnce:
    def test_beats_that_start_together_add_a_schedule_once(self) -> None:
        log = ScheduleLog()
        log.define(definition(at=after(0.5)), definition(at=after(1.2)), definition(at=after(2.1)))

        Owner(log, START).fire(after(5))

        assert seconds_of(log) == [1, 2, 3, 4, 5]

    def test_the_phase_is_that_of_the_first(self) -> None:
        log = ScheduleLog()
        log.define(definition(cron="@every 5s", at=after(0)))
        owner = Owner(log, START)
        owner.fire(after(0))
        log.define(definition(cron="@every 5s", at=after(2)))
        owner.fire(after(7))
        log.compact()

        Owner(log, START).fire(after(15))

        assert seconds_of(log) == [5, 10, 15]

    def test_two_changes_at_once_each_rule_their_part(self) -> None:
        log = ScheduleLog()
        log.define(definition(cron="*/2 * * * * *"))
        log.define(definition(cron="*/3 * * * * *", at=after(10), born=START))
        log.define(definition(cron="*/5 * * * * *", at=after(20), born=START))

        Owner(log, START).fire(after(30))

        assert seconds_of(log) == [2, 4, 6, 8, 10, 12, 15, 18, 25, 30]


class TestPause:
    def test_paused_schedule_sends_nothing_and_does_not_catch_up(self) -> None:
        log = ScheduleLog()
        log.define(definition())
        owner = Owner(log, START)
        owner.fire(after(1))
        log.put(PAUSE, encode(Pause(after(2.5)).to_json()))
        owner.fire(after(5))
        log.put(PAUSE, encode(Pause(after(2.5), after(7.5)).to_json()))

        owner.fire(after(9))

        assert seconds_of(log) == [1, 2, 8, 9]

    def test_it_holds_for_an_heir(self) -> None:
        log = ScheduleLog()
        log.define(definition())
        Owner(log, START).fire(after(1))
        log.put(PAUSE, encode(Pause(after(2.5)).to_json()))

        heir = Owner(log, START)
        heir.fire(after(5))

        assert seconds_of(log) == [1, 2]
        assert heir.shard.next_due() is None

    def test_what_was_paused_and_resumed_while_nobody_owned_it(self) -> None:
        log = ScheduleLog()
        log.define(definition())
        Owner(log, START).fire(after(1))
        log.put(PAUSE, encode(Pause(after(2.5), after(7.5)).to_json()))
        log.compact()

        Owner(log, START).fire(after(9))

        assert seconds_of(log) == [1, 2, 8, 9]

    def test_several_pauses_while_nobody_owned_it(self) -> None:
        log = ScheduleLog()
        log.define(definition())
        Owner(log, START).fire(after(1))
        first = Pause(after(2.5), after(4.5))
        second = first.paused(after(6.5), after(1))
        assert second is not None
        third = Pause(after(6.5), after(7.5), second.earlier).paused(after(9.5), after(1))
        assert third is not None
        log.put(PAUSE, encode(third.to_json()))
        log.compact()

        Owner(log, START).fire(after(12))

        assert seconds_of(log) == [1, 2, 5, 6, 8, 9]

    def test_pause_that_is_over_plays_no_part_later(self) -> None:
        log = ScheduleLog()
        log.define(definition())
        owner = Owner(log, START)
        log.put(PAUSE, encode(Pause(after(2.5), after(7.5)).to_json()))
        owner.fire(after(9))

        Owner(log, START).fire(after(11))

        assert seconds_of(log) == [1, 2, 8, 9, 10, 11]


class TestCatchUp:
    def test_outage_while_this_process_stood_by_loses_nothing(self) -> None:
        log = ScheduleLog()
        log.define(definition(catch_up="none"))
        Owner(log, START).fire(after(1))

        Owner(log, START).fire(after(600))

        assert seconds_of(log) == list(range(1, 601))

    def test_what_was_missed_while_no_beat_ran_follows_catch_up(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        log = ScheduleLog()
        log.define(definition(catch_up="last"))
        Owner(log, START).fire(after(1))

        Owner(log, after(600)).fire(after(600))

        assert seconds_of(log) == [1, 539, *range(540, 601)]
        assert [record.event for record in caplog.records] == ["occurrence.left_out"]  # type: ignore[attr-defined]


class TestWhatCannotBeSent:
    def test_occurrence_without_queue_becomes_a_letter_and_the_next_is_tried(self) -> None:
        log = ScheduleLog()
        log.define(definition(args=[1]))
        bad = True

        def queue_of(task: str) -> str:
            if bad:
                raise InvalidQueueName("x/y", "no")
            return "taskq"

        owner = Owner(log, START, queue_of=queue_of)
        owner.fire(after(1))
        bad = False
        owner.fire(after(2))

        headers = dict(log.letters[0].headers)
        assert headers["dlq-id"] == b"jobs/a@2026-11-23T17:00:01Z"
        assert headers["dlq-reason"] == b"bad_arguments"
        assert log.letters[0].key == b"taskq.schedules/0/0/2026-11-23T17:00:01Z"
        assert seconds_of(log) == [2]

    def test_what_the_broker_refuses_becomes_letters_with_the_same_state(self) -> None:
        log = ScheduleLog()
        log.define(definition(args=["long"]))
        owner = Owner(log, START)
        owner.fire(START)
        firing = owner.take(after(2))[0]

        instead = owner.shard.give_up(firing, "rejected", "too large")
        log.commit([instead])
        owner.shard.settle([instead])
        owner.fire(after(3))

        assert instead.writes == firing.writes
        assert len({letter.key for letter in log.letters}) == 2
        assert json.loads(log.letters[0].value)[0] == ["long"]
        assert dict(log.letters[0].headers)["dlq-error"] == b"too large"
        assert seconds_of(log) == [3]


class TestForeignRecords:
    @pytest.mark.parametrize("part", [Part.DEFINITION, Part.PAUSE, Part.STATE])
    def test_newer_format_is_left_untouched_and_said(
        self, part: Part, caplog: pytest.LogCaptureFixture
    ) -> None:
        log = ScheduleLog()
        log.define(definition())
        log.put(key_of("jobs/a", part), b'{"format": 99}')
        before = list(log.records)
        owner = Owner(log, START)

        owner.fire(after(5))
        owner.fire(after(6))

        assert log.records == before
        assert [record.event for record in caplog.records] == ["schedule.unreadable"]  # type: ignore[attr-defined]

    def test_it_goes_on_when_the_record_can_be_read_again(self) -> None:
        log = ScheduleLog()
        log.define(definition())
        log.put(PAUSE, b"?")
        owner = Owner(log, START)
        owner.fire(after(2))

        log.put(PAUSE, None)
        owner.fire(after(3))

        assert seconds_of(log) == [1, 2, 3]

    def test_others_are_passed_over(self) -> None:
        log = ScheduleLog()
        for key in (b"", b"\xff", b"jobs", b"other/a", b"other/a#state", b"jobs#manifest/file:x"):
            log.put(key, b"?")
        owner = Owner(log, START)

        owner.fire(after(5))

        assert len(owner.shard) == 0
        assert log.sent == []

    def test_one_that_was_seen_changes_nothing(self) -> None:
        log = ScheduleLog()
        log.define(definition(), definition(cron="*/2 * * * * *", at=after(2), born=START))
        owner = Owner(log, START)
        owner.fire(after(2))

        owner.shard.apply(log.records[0])
        owner.fire(after(6))

        assert seconds_of(log) == [1, 2, 4, 6]


def test_sent_occurrences_are_told_with_their_lateness(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "taskq")
    log = ScheduleLog()
    log.define(definition(jitter=0))
    owner = Owner(log, START)
    owner.fire(START)

    owner.fire(after(1.25))

    assert [(r.event, r.lateness) for r in caplog.records] == [("occurrence.sent", 0.25)]  # type: ignore[attr-defined]


RULES = st.sampled_from(
    ["* * * * * *", "*/7 * * * * *", "@every 13s", "0 */2 * * * *", "@every 61s"]
)
END_OF_OWNER = st.sampled_from(["lives", "dies before the transaction", "dies after it"])


@given(
    crons=st.lists(RULES, min_size=1, max_size=4),
    steps=st.lists(
        st.tuples(st.floats(0.001, 40), END_OF_OWNER, st.booleans(), st.sampled_from([1, 3, 500])),
        min_size=1,
        max_size=25,
    ),
)
@settings(max_examples=60)
def test_every_instant_once_whoever_dies_and_whenever(
    crons: Sequence[str], steps: Sequence[tuple[float, str, bool, int]]
) -> None:
    log = ScheduleLog()
    loads = [definition(f"s{n}", cron) for n, cron in enumerate(crons)]
    log.define(*loads)
    owner = Owner(log, START)
    now = START
    for step, end, is_compacted, limit in steps:
        now += timedelta(seconds=step)
        firings = owner.take(now, limit)
        if end != "dies before the transaction":
            log.commit(firings)
        if end == "lives":
            owner.shard.settle(firings)
            continue
        if is_compacted:
            log.compact()
        owner = Owner(log, START)
    Owner(log, START).fire(now)

    moment = now.replace(microsecond=now.microsecond // 1000 * 1000)
    expected = [
        f"{each.name}@{at.strftime('%Y-%m-%dT%H:%M:%SZ')}"
        for each in loads
        for at in planned_instants(begin(each), moment)
    ]
    assert sorted(log.ids) == sorted(expected)


@given(
    changes=st.lists(st.tuples(RULES, st.floats(0.5, 90)), min_size=1, max_size=5),
    turns=st.lists(st.tuples(st.floats(0.001, 60), st.booleans()), min_size=1, max_size=12),
)
@settings(max_examples=60)
def test_changes_at_any_time_and_dying_owners_neither_lose_nor_double(
    changes: Sequence[tuple[str, float]], turns: Sequence[tuple[float, bool]]
) -> None:
    loads = [definition(cron="* * * * * *")]
    at = START
    for place, (cron, step) in enumerate(changes):
        at += timedelta(seconds=step)
        loads.append(definition(cron=cron, at=at, born=START, args=[place]))
    log = ScheduleLog()
    owner = Owner(log, START)
    now, coming = START, list(loads)
    for step, is_dying in [*turns, (500.0, True)]:
        now += timedelta(seconds=step)
        while coming and coming[0].effective_from <= now:
            # A load is known at the latest when it is in force: what the old one sent before is not sent again.
            owner.fire(coming[0].effective_from)
            log.define(coming.pop(0))
        owner.fire(now) if not is_dying else owner.take(now)
        if is_dying:
            owner = Owner(log, START)
    owner.fire(now)

    expected: list[datetime] = []
    state = begin(loads[0])
    for load, following in zip(loads, [*loads[1:], None], strict=True):
        until = now if following is None else following.effective_from
        same = state.definition.entry.cron.every == load.entry.cron.every
        fresh = begin(load)
        anchor = state.anchor if same else fresh.anchor
        state = type(state)(load, load.effective_from, anchor)
        expected += planned_instants(state, until)
    assert seconds_of(log) == [round((each - START).total_seconds()) for each in expected]
