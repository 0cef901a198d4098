"""Which occurrences are due: the rules of catching up, of changes, and that no split of time adds or loses an instant."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskq.scheduling.occurrences import (
    TAKE_OVER,
    Decision,
    Definition,
    State,
    begin,
    decide,
    delay_of,
    planned_instants,
)
from taskq.scheduling.schedule import read_entries

START = datetime(2026, 11, 23, 17, 0, 0, 250_000, tzinfo=timezone.utc)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)

STATE_OF_FORMAT_1 = (
    '{"format": 1, "definition": {"entry": {"id": "a", "cron": "@every 90s", "dialect": "standard", "task": "t", '
    '"jitter": 2.0, "catch_up": "all"}, "namespace": "jobs", "effective_from": "2026-11-23T17:00:00.250000Z", '
    '"origin": "file:jobs.json"}, "cursor": "2026-11-23T17:03:00Z", "anchor": "2026-11-23T17:00:00.250000Z"}'
)


def definition(cron: str = "0 * * * *", at: datetime = START, **keys: Any) -> Definition:
    entries, problems = read_entries([{"id": "a", "cron": cron, "task": "t", **keys}])
    assert problems == []
    return Definition(entries[0], "jobs", at, "file:jobs.json", born=START)


def planned(decision: Decision) -> list[datetime]:
    return [occurrence.planned for occurrence in decision.occurrences]


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-11-23T{text}+00:00")


def test_nothing_before_the_first_load_is_due() -> None:
    rule = definition("* * * * * *")

    decision = decide(begin(rule), rule, START)

    assert decision.occurrences == ()
    assert decision.next_due == at("17:00:01")


def test_occurrence_is_named_after_its_planned_instant() -> None:
    rule = definition(expires=90)

    occurrence = decide(begin(rule), rule, at("18:00:00")).occurrences[0]

    assert occurrence.task_id == "jobs/a@2026-11-23T18:00:00Z"
    assert occurrence.scheduled_for == "2026-11-23T18:00:00Z"
    assert occurrence.expires == at("18:01:30")


def test_occurrence_is_due_at_its_instant_and_not_before() -> None:
    rule = definition()

    early = decide(begin(rule), rule, at("17:59:59.999999"))
    due = decide(begin(rule), rule, at("18:00:00"))

    assert planned(early) == []
    assert early.next_due == at("18:00:00")
    assert planned(due) == [at("18:00:00")]
    assert due.next_due == at("19:00:00")


def test_what_was_sent_is_not_due_again_after_the_clock_went_back() -> None:
    rule = definition()
    state = decide(begin(rule), rule, at("18:00:00")).state

    decision = decide(state, rule, at("17:30:00"))

    assert decision.occurrences == ()
    assert decision.next_due == at("19:00:00")


class TestCatchUp:
    NOW = at("20:30:00")  # 18:00, 19:00 and 20:00 were missed

    @pytest.mark.parametrize(
        ("catch_up", "expected"),
        [
            ("none", []),
            ("last", [at("20:00:00")]),
            ("all", [at("18:00:00"), at("19:00:00"), at("20:00:00")]),
        ],
    )
    def test_it_rules_what_was_missed(self, catch_up: str, expected: list[datetime]) -> None:
        rule = definition(catch_up=catch_up)

        decision = decide(begin(rule), rule, self.NOW)

        assert planned(decision) == expected
        assert decision.next_due == at("21:00:00")

    @pytest.mark.parametrize(
        ("catch_up", "expected"),
        [
            ("none", []),
            ("last", [at("20:00:00")]),
            ("all", [at("19:00:00"), at("20:00:00")]),
        ],
    )
    def test_window_is_counted_back_from_now(self, catch_up: str, expected: list[datetime]) -> None:
        rule = definition(catch_up=catch_up, catch_up_window=5400)

        assert planned(decide(begin(rule), rule, self.NOW)) == expected

    def test_last_one_outside_the_window_is_left_out(self) -> None:
        rule = definition(catch_up="last", catch_up_window=1799)

        decision = decide(begin(rule), rule, self.NOW)

        assert decision.occurrences == ()
        assert decision.left_out is not None
        assert (decision.left_out.first, decision.left_out.last) == (
            at("18:00:00"),
            at("20:00:00"),
        )

    def test_what_is_left_out_is_told(self) -> None:
        rule = definition(catch_up="last")

        left_out = decide(begin(rule), rule, self.NOW).left_out

        assert left_out is not None
        assert (left_out.first, left_out.last) == (at("18:00:00"), at("19:00:00"))

    @pytest.mark.parametrize("catch_up", ["none", "last", "all"])
    def test_what_came_due_a_minute_ago_is_always_sent(self, catch_up: str) -> None:
        rule = definition(catch_up=catch_up, catch_up_window=0)

        decision = decide(begin(rule), rule, at("18:01:00"))

        assert planned(decision) == [at("18:00:00")]

    def test_a_moment_later_it_was_missed(self) -> None:
        rule = definition(catch_up="none")

        assert decide(begin(rule), rule, at("18:01:00.000001")).occurrences == ()

    def test_what_came_due_while_a_beat_watched_was_not_missed(self) -> None:
        rule = definition(catch_up="none")

        decision = decide(begin(rule), rule, self.NOW, watching_since=at("18:30:00"))

        assert planned(decision) == [at("19:00:00"), at("20:00:00")]

    def test_last_of_a_year_of_seconds_is_found_without_walking(self) -> None:
        rule = definition("* * * * * *", catch_up="last", catch_up_window=10**9)

        decision = decide(begin(rule), rule, START + timedelta(days=365))

        assert len(decision.occurrences) == 61  # those of the last minute, and the last one before

    def test_limit_cuts_and_the_rest_follows(self) -> None:
        rule = definition("* * * * * *", catch_up="all")
        now = START + timedelta(seconds=1000)

        first = decide(begin(rule), rule, now, limit=700)
        second = decide(first.state, rule, now, limit=700)

        assert [len(first.occurrences), len(second.occurrences)] == [700, 300]
        assert first.next_due is not None
        assert first.next_due <= now


class TestBounds:
    def test_start_and_end_are_included(self) -> None:
        rule = definition(start="2026-11-23T19:00:00Z", end="2026-11-23T20:00:00Z")

        assert list(planned_instants(begin(rule), at("23:00:00"))) == [
            at("19:00:00"),
            at("20:00:00"),
        ]

    def test_after_the_end_nothing_is_due_again(self) -> None:
        rule = definition(end="2026-11-23T18:00:00Z")

        assert decide(begin(rule), rule, at("18:00:00")).next_due is None

    def test_start_beyond_the_search_of_cron_is_found(self) -> None:
        rule = definition(start="2040-01-01T00:00:00Z")

        assert decide(begin(rule), rule, START).next_due == datetime(
            2040, 1, 1, tzinfo=timezone.utc
        )

    def test_entry_that_is_off_is_never_due(self) -> None:
        rule = definition(enabled=False)

        decision = decide(begin(rule), rule, at("23:00:00"))

        assert (decision.occurrences, decision.next_due) == ((), None)

    def test_entry_that_is_switched_on_is_due_from_then(self) -> None:
        off, on = definition(enabled=False), definition(at=at("19:30:00"))

        decision = decide(begin(off), on, at("20:00:00"), watching_since=START)

        assert planned(decision) == [at("20:00:00")]


class TestJitter:
    def test_it_delays_and_the_name_stays(self) -> None:
        rule = definition(jitter=600)
        delay = delay_of(rule)

        decision = decide(begin(rule), rule, at("18:00:00") + delay)

        assert timedelta(0) < delay < timedelta(seconds=600)
        assert decide(begin(rule), rule, at("18:00:00") + delay - SECOND).occurrences == ()
        assert decision.occurrences[0].task_id == "jobs/a@2026-11-23T18:00:00Z"
        assert decision.occurrences[0].due == at("18:00:00") + delay
        assert decision.next_due == at("19:00:00") + delay

    def test_it_is_fixed_by_the_name(self) -> None:
        # Written down: another value would move every schedule with jitter when taskq is updated.
        assert delay_of(definition(jitter=1000)) == delay_of(definition("5 5 * * *", jitter=1000))
        assert delay_of(definition(jitter=1000)) == timedelta(milliseconds=239_348)

    def test_it_spreads(self) -> None:
        rule = definition(jitter=100)
        delays = {
            delay_of(replace(rule, entry=replace(rule.entry, id=str(n)))) // SECOND
            for n in range(200)
        }

        assert len(delays) > 60


class TestEvery:
    def test_phase_is_that_of_the_load(self) -> None:
        rule = definition("@every 90s")

        assert list(planned_instants(begin(rule), at("17:05:00"))) == [
            at("17:01:30"),
            at("17:03:00"),
            at("17:04:30"),
        ]

    def test_phase_is_that_of_the_start_where_there_is_one(self) -> None:
        rule = definition("@every 1h", start="2026-01-01T00:30:00Z")

        assert decide(begin(rule), rule, START).next_due == at("17:30:00")

    def test_another_load_of_the_same_rule_keeps_the_phase(self) -> None:
        old = definition("@every 90s")
        new = definition("@every 90s", at=at("17:02:00"), args=[1])

        decision = decide(begin(old), new, at("17:03:00"))

        assert planned(decision) == [at("17:01:30"), at("17:03:00")]
        assert decision.state.anchor == START

    def test_another_distance_counts_from_its_load(self) -> None:
        old = definition("@every 90s")
        new = definition("@every 40s", at=at("17:02:00"))

        decision = decide(begin(old), new, at("17:02:45"))

        assert planned(decision) == [at("17:01:30"), at("17:02:40")]

    def test_phase_outlives_an_outage(self) -> None:
        rule = definition("@every 7s", catch_up="none")
        state = decide(begin(rule), rule, START + HOUR).state

        found = decide(state, rule, START + 2 * HOUR).next_due

        assert found is not None
        assert (found - START.replace(microsecond=0)) % (7 * SECOND) == timedelta(0)


class TestChange:
    def test_instants_up_to_the_change_follow_the_old_rule(self) -> None:
        old = definition("* * * * * *")
        new = definition("*/10 * * * * *", at=at("17:00:05"))

        decision = decide(begin(old), new, at("17:00:25"))

        assert planned(decision) == [at(f"17:00:{n:02}") for n in (1, 2, 3, 4, 5, 10, 20)]
        assert decision.state.definition == new
        assert [o.definition.entry.cron.expression for o in decision.occurrences][4:6] == [
            "* * * * * *",
            "*/10 * * * * *",
        ]

    def test_old_occurrence_that_waits_for_its_jitter_is_still_sent(self) -> None:
        old = definition(jitter=600)
        new = definition("30 * * * *", at=at("18:00:01"), jitter=600)
        delay = delay_of(old)

        waiting = decide(begin(old), new, at("18:00:02"))
        sent = decide(waiting.state, new, at("18:00:00") + delay)

        assert waiting.occurrences == ()
        assert waiting.next_due == at("18:00:00") + delay
        assert planned(sent) == [at("18:00:00")]
        assert sent.next_due == at("18:30:00") + delay

    def test_change_that_lies_before_the_cursor_repeats_nothing(self) -> None:
        old = definition("* * * * * *")
        state = decide(begin(old), old, at("17:00:30")).state
        new = definition("*/2 * * * * *", at=at("17:00:10"))

        assert planned(decide(state, new, at("17:00:33"))) == [at("17:00:32")]


class TestJson:
    @pytest.mark.parametrize("cron", ["0 * * * *", "@every 90s"])
    def test_state_is_the_same_after_json(self, cron: str) -> None:
        rule = definition(cron, kwargs={"x": [1]}, start="2026-01-01T00:00:00Z", jitter=3)
        state = decide(begin(rule), rule, START + 3 * HOUR).state

        assert State.from_json(json.loads(json.dumps(state.to_json()))) == state

    def test_stored_state_of_format_1_is_read(self) -> None:
        state = State.from_json(json.loads(STATE_OF_FORMAT_1))

        assert state.cursor == at("17:03:00")
        assert decide(state, state.definition, at("17:04:00")).next_due == at(
            "17:04:30"
        ) + delay_of(state.definition)
        assert state.to_json() == json.loads(STATE_OF_FORMAT_1)

    @pytest.mark.parametrize(
        "document", [{}, {"format": 2}, {"format": 1, "definition": 5}, {"format": 1}]
    )
    def test_other_documents_are_refused(self, document: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match=r"state|definition"):
            State.from_json(document)


RULES = st.sampled_from(
    ["* * * * * *", "*/7 * * * * *", "@every 13s", "0 */2 * * * *", "@every 61s", "30 0 18 * * *"]
)
STEPS = st.lists(st.floats(0.001, 59), min_size=1, max_size=40)


def all_sent(state: State, rule: Definition, moments: Sequence[datetime]) -> list[datetime]:
    found: list[datetime] = []
    for moment in moments:
        decision = decide(state, rule, moment, limit=10_000)
        found += planned(decision)
        state = decision.state
        assert decision.left_out is None
        if decision.occurrences:
            assert max(o.due for o in decision.occurrences) <= moment
        assert decision.next_due is None or decision.next_due > moment
    return found


def moments_of(steps: Sequence[float]) -> list[datetime]:
    moments, moment = [], START
    for step in steps:
        moment += timedelta(seconds=step)
        moments.append(moment)
    return moments


@given(cron=RULES, steps=STEPS)
@settings(max_examples=60)
def test_instants_over_any_split_are_the_instants_over_the_whole(
    cron: str, steps: list[float]
) -> None:
    rule = definition(cron)
    moments = moments_of(steps)

    assert all_sent(begin(rule), rule, moments) == list(planned_instants(begin(rule), moments[-1]))


@given(cron=RULES, steps=STEPS, jitter=st.integers(0, 100))
@settings(max_examples=40)
def test_jitter_moves_all_and_loses_none(cron: str, steps: list[float], jitter: int) -> None:
    rule = definition(cron, jitter=jitter)
    moments = moments_of(steps)
    until = moments[-1] - delay_of(rule)

    assert all_sent(begin(rule), rule, moments) == list(planned_instants(begin(rule), until))


@given(old=RULES, new=RULES, steps=STEPS, change=st.floats(0, 600))
@settings(max_examples=60)
def test_change_at_any_time_neither_loses_nor_doubles(
    old: str, new: str, steps: list[float], change: float
) -> None:
    first = definition(old)
    moments = moments_of(steps)
    at_change = START + timedelta(seconds=change)
    second = definition(new, at=at_change)
    before = [moment for moment in moments if moment <= at_change]
    after = [moment for moment in moments if moment > at_change]

    sent = all_sent(begin(first), first, before)
    state = begin(first)
    for moment in before:
        state = decide(state, first, moment, limit=10_000).state
    sent += all_sent(state, second, after)

    end = after[-1] if after else moments[-1]
    expected = list(planned_instants(begin(first), min(at_change, end)))
    if after:
        expected += list(planned_instants(begin(second), end))
    if first.entry.cron.every is None or first.entry.cron.every != second.entry.cron.every:
        assert sent == expected
    else:  # the phase is kept
        assert sent == list(planned_instants(begin(first), end))


@given(
    cron=RULES,
    catch_up=st.sampled_from(["none", "last", "all"]),
    outage=st.integers(0, 3000),
    window=st.integers(0, 3000),
)
@settings(max_examples=80)
def test_after_an_outage_is_sent_what_the_rules_say(
    cron: str, catch_up: str, outage: int, window: int
) -> None:
    rule = definition(cron, catch_up=catch_up, catch_up_window=window)
    now = START + timedelta(seconds=outage)
    whole = list(planned_instants(begin(rule), now))
    recent = [moment for moment in whole if moment >= now - TAKE_OVER]
    missed = [moment for moment in whole if moment < now - TAKE_OVER]
    if catch_up == "last":
        missed = missed[-1:]
    in_window = [moment for moment in missed if moment >= now - timedelta(seconds=window)]

    decision = decide(begin(rule), rule, now, limit=10_000)

    assert planned(decision) == ([] if catch_up == "none" else in_window) + recent
    assert decide(decision.state, rule, now).occurrences == ()
