"""The tracker: what may be committed, whatever the order of claims, acks, gaps and revokes."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from taskq_kafka.offsets import (
    METADATA_LIMIT,
    Expiry,
    Mark,
    NewerFormat,
    PartitionOffsets,
    State,
)


def delivered(*offsets: int, start: int = 0) -> PartitionOffsets:
    tracker = PartitionOffsets(State(start))
    for offset in offsets:
        assert tracker.deliver(offset)
    return tracker


def test_all_settled_commits_one_above_the_last_with_empty_metadata() -> None:
    tracker = delivered(0, 1, 2)

    tracker.settle([0, 1, 2])

    assert tracker.state() == State(3)
    assert tracker.state().metadata() == ""


def test_an_unfinished_record_is_never_passed() -> None:
    tracker = delivered(5, 6, 7, start=5)

    tracker.settle([6, 7])

    assert tracker.state().offset == 5
    assert State.parse(5, tracker.state().metadata()).unfinished == (5,)


def test_state_of_a_claim_changes_nothing_until_it_is_settled() -> None:
    tracker = delivered(0, 1, 2)

    claimed = tracker.state([0, 1])

    assert claimed.offset == 2
    assert tracker.state().offset == 0


def test_a_hole_between_delivered_records_does_not_stop_the_commit() -> None:
    tracker = delivered(3, 9)

    tracker.settle([3, 9])

    assert tracker.state().offset == 10


def test_a_settled_record_is_not_delivered_again_after_a_restart() -> None:
    tracker = delivered(0, 1, 2, 3)
    tracker.settle([1, 3])
    state = tracker.state()

    heir = PartitionOffsets(State.parse(state.offset, state.metadata()))

    assert [offset for offset in range(5) if heir.deliver(offset)] == [0, 2, 4]


def test_a_record_in_flight_is_not_delivered_twice() -> None:
    tracker = delivered(0, 1)

    assert not tracker.deliver(1)


def test_a_record_given_back_is_delivered_again_and_only_it() -> None:
    tracker = delivered(0, 1, 2)
    tracker.give_back([1])

    assert tracker.position == 1
    assert tracker.deliver(1)
    assert not tracker.deliver(2)
    assert tracker.deliver(3)


def test_a_record_deleted_while_it_was_given_back_does_not_block() -> None:
    tracker = delivered(0, 1, 2)
    tracker.settle([2])
    tracker.give_back([0, 1])

    assert tracker.deliver(1)  # 0 was trimmed meanwhile
    tracker.settle([1])

    assert tracker.state() == State(3)


def test_a_restored_unfinished_record_that_exists_no_more_does_not_block() -> None:
    tracker = PartitionOffsets(State(4, (4, 6), 8))

    tracker.reach(9)

    assert tracker.state().offset == 9


def test_the_end_of_a_partition_moves_the_offset_at_once_with_nothing_unfinished() -> None:
    tracker = delivered(0)
    tracker.settle([0])

    assert tracker.reach(5)
    assert tracker.state() == State(5)


def test_the_end_of_a_partition_moves_the_offset_when_the_last_unfinished_record_settles() -> None:
    tracker = delivered(0, 1)

    assert not tracker.reach(5)
    tracker.settle([1])
    assert tracker.state() == State(0, (0,), 2)
    tracker.settle([0])
    assert tracker.state() == State(5)


def test_a_claim_of_all_that_is_unfinished_commits_the_end_that_was_reached_before() -> None:
    tracker = delivered(0)
    tracker.reach(5)

    assert tracker.state([0]) == State(5)


def test_a_record_above_an_end_that_was_reached_keeps_the_offset_below_itself() -> None:
    tracker = delivered(0)
    tracker.reach(5)

    assert tracker.deliver(5)
    tracker.settle([0])

    assert tracker.state() == State(5)
    assert tracker.position == 6


def test_a_record_given_back_below_an_end_that_was_reached_comes_again() -> None:
    tracker = delivered(0)
    tracker.reach(5)

    tracker.give_back([0])

    assert tracker.position == 0
    assert tracker.deliver(0)


def test_started_marks_survive_in_the_metadata_and_are_cleared_by_a_graceful_revoke() -> None:
    tracker = delivered(0, 1)
    tracker.start([0])
    tracker.start([0])

    state = tracker.state([1])
    tracker.clear_started()

    restored = State.parse(state.offset, state.metadata())
    assert restored.marks == {0: Mark(2, started=True)}
    assert tracker.mark(0) == Mark(2, started=False)


def heir_of(state: State) -> PartitionOffsets:
    """Return the tracker of the next owner, as it reads what the group has stored."""
    return PartitionOffsets(State.parse(state.offset, state.metadata()))


def test_what_was_at_work_when_its_owner_died_is_a_suspect_and_no_death_counts() -> None:
    tracker = delivered(0, 1, 2)
    tracker.start([0, 1])

    heir = heir_of(tracker.state())

    assert [mark.is_suspect for mark in map(heir.mark, (0, 1)) if mark] == [True, True]
    assert heir.mark(0) == Mark(1, started=True)
    assert heir.mark(2) is None


def test_a_death_alone_at_work_counts_once_however_many_owners_follow() -> None:
    tracker = delivered(0, 1)
    tracker.start([0], alone=[0])

    heir = heir_of(tracker.state())
    heir.deliver(0)
    heir.deliver(1)
    second = heir_of(heir.state([1]))

    assert heir.mark(0) == Mark(1, started=True, deaths=1)
    assert second.mark(0) == Mark(1, started=True, deaths=1)


def test_who_was_alone_and_is_not_any_more_dies_uncounted() -> None:
    tracker = delivered(0)
    tracker.start([0], alone=[0])

    tracker.keep_company([0])

    assert heir_of(tracker.state()).mark(0) == Mark(1, started=True, lived=True)


def test_a_process_that_died_with_a_record_counts_at_once() -> None:
    tracker = delivered(0)
    tracker.start([0])
    tracker.give_back([0], died=True)

    heir = heir_of(tracker.state())

    assert heir.mark(0) == tracker.mark(0) == Mark(1, started=False, deaths=1)


def test_a_graceful_revoke_leaves_no_suspect_but_those_of_others() -> None:
    first = delivered(0, 1)
    first.start([0, 1])
    tracker = heir_of(first.state())
    tracker.deliver(0)
    tracker.deliver(1)
    tracker.start([1])

    assert tracker.clear_started()

    assert tracker.mark(0) == Mark(1, started=True)
    assert tracker.mark(1) == Mark(2, started=False)
    assert not tracker.clear_started()


def test_marks_of_records_not_fetched_yet_outlive_the_commit_of_all_below_them() -> None:
    first = delivered(0, 1, 2)
    first.start([0, 2])
    tracker = heir_of(first.state())
    tracker.deliver(0)

    state = tracker.state([0])

    assert state == State(1, marks={2: Mark(1, started=True)})
    assert heir_of(state).mark(2) == Mark(1, started=True)


def test_a_mark_of_a_record_that_was_deleted_is_forgotten() -> None:
    first = delivered(0, 1)
    first.start([0, 1])
    tracker = heir_of(first.state())

    tracker.deliver(5)

    assert tracker.state() == State(5)


def test_a_mark_at_the_end_of_what_is_left_of_a_log_is_kept() -> None:
    first = delivered(0, 1)
    first.start([1])
    tracker = heir_of(first.state())

    tracker.reach(1)

    assert tracker.state() == State(1, marks={1: Mark(1, started=True)})


def test_a_thousand_started_neighbours_are_a_few_characters_of_metadata() -> None:
    tracker = delivered(*range(1000))
    tracker.start(range(1000))

    assert len(tracker.state().metadata()) < 20


def test_thousands_at_work_that_end_in_random_order_fit_the_metadata() -> None:
    tracker = delivered(*range(10_000))
    tracker.start(range(10_000))
    order = list(range(1, 10_000))
    random.Random(7).shuffle(order)

    longest = 0
    for position in range(0, len(order), 500):
        tracker.settle(order[position : position + 500])
        longest = max(longest, len(tracker.state().metadata()))

    assert longest <= METADATA_LIMIT
    assert tracker.state() == State(0, (0,), 10_000, {0: Mark(1, started=True)})


def test_expiry_is_kept_until_the_offset_has_passed_it() -> None:
    tracker = delivered(0, 1)
    tracker.expiry = Expiry(2, 1_700_000_000_000)

    before = tracker.state([0])
    after = tracker.state([0, 1])

    assert State.parse(1, before.metadata()).expiry == tracker.expiry
    assert after.metadata() == ""


def test_a_commit_is_proven_by_itself_and_by_its_heirs_first_ones() -> None:
    tracker = delivered(0, 1, 2)
    taken = tracker.state([0, 1], stamp="first.7")
    stored = State.parse(taken.offset, taken.metadata())
    heir = PartitionOffsets(stored)
    heir.deliver(2)
    beyond = State.parse(3, heir.state([2], stamp="heir.0").metadata())

    assert stored.proves("first.7")
    assert beyond.proves("first.7")
    assert beyond.proves("heir.0")
    assert not stored.proves("first.6")
    assert not PartitionOffsets(beyond).state(stamp="third.0").proves("first.7")


def test_a_commit_without_a_stamp_proves_nothing_and_is_never_proven() -> None:
    assert not State(7).proves("")
    assert not State(7, stamp="heir.0").proves("")
    assert not State(7).proves("first.7")


def test_foreign_metadata_says_nothing_and_a_newer_format_is_refused() -> None:
    assert State.parse(7, "some tool's note") == State(7)
    assert State.parse(7, None) == State(7)
    with pytest.raises(NewerFormat):
        State.parse(7, "tq2:u…")


def test_stored_metadata_of_version_1_is_still_read() -> None:
    assert State.parse(10, "tq1:urAQEBAQ") == State(10, (10, 12), 14)
    assert State.parse(10, "tq1:ub12.BQU") == State(10, (10, 12, 18, 20), 22)
    assert State.parse(10, "tq1:mAAIRAQEkAwABfwI;x99,1700000000000") == State(
        10,
        marks={
            10: Mark(1, True),
            11: Mark(1, True),
            13: Mark(2, False, 3),
            14: Mark(7, True, 2, True, True),
        },
        expiry=Expiry(99, 1_700_000_000_000),
    )
    assert State.parse(10, "tq1:wgS3aZ-xY.1f;iQ0_bcdeF.0") == State(
        10, stamp="gS3aZ-xY.1f", inherits="Q0_bcdeF.0"
    )


def test_ten_thousand_records_finished_in_random_order_fit_the_metadata() -> None:
    tracker = delivered(*range(10_000))
    order = list(range(1, 10_000))
    random.Random(7).shuffle(order)

    longest = 0
    for position in range(0, len(order), 500):
        tracker.settle(order[position : position + 500])
        longest = max(longest, len(tracker.state().metadata()))

    assert longest <= METADATA_LIMIT
    assert tracker.state().unfinished == (0,)


MARKS = st.builds(
    Mark,
    deliveries=st.integers(0, 300),
    started=st.booleans(),
    deaths=st.integers(0, 200),
    alone=st.booleans(),
    lived=st.booleans(),
)


@given(
    base=st.integers(0, 2**40),
    unfinished=st.sets(st.integers(1, 300)),
    marks=st.dictionaries(st.integers(0, 500), MARKS),
)
@settings(max_examples=200)
def test_marks_round_trip(base: int, unfinished: set[int], marks: dict[int, Mark]) -> None:
    places = sorted({0} | unfinished)
    end = places[-1] + 2
    state = State(
        base,
        tuple(base + place for place in places),
        base + end,
        {base + at: mark for at, mark in marks.items() if at in places or at >= end},
    )

    assert State.parse(base, state.metadata()) == state


@given(
    base=st.integers(0, 2**40),
    length=st.integers(1, 400),
    seed=st.sets(st.integers(0, 399)),
    stamps=st.tuples(st.sampled_from(["", "a.0"]), st.sampled_from(["", "b_-.ff"])),
)
@settings(max_examples=200)
def test_metadata_round_trip(
    base: int, length: int, seed: set[int], stamps: tuple[str, str]
) -> None:
    unfinished = tuple(sorted({base} | {base + i for i in seed if i < length - 1}))
    state = State(base, unfinished, base + length) if length > 1 else State(base)
    state = replace(state, stamp=stamps[0], inherits=stamps[1])

    assert State.parse(base, state.metadata()) == state


class TrackerMachine(RuleBasedStateMachine):
    """Any order of deliveries, claims, starts, late acks, deaths, gaps, give-backs and new owners against a plain model."""

    @initialize()
    def begin(self) -> None:
        self.log: list[int] = []
        self.settled: set[int] = set()
        self.tracker = PartitionOffsets(State(0))
        self.in_hand: list[int] = []
        self.at_work: set[int] = set()
        self.suspects: set[int] = set()
        """Started by an owner that died, and not since."""
        self.deliveries: Counter[int] = Counter()
        self.deaths: Counter[int] = Counter()
        self.committed = State(0)
        self.fetch_from = 0

    @rule(gap=st.integers(0, 3))
    def produce(self, gap: int) -> None:
        self.log.append((self.log[-1] + 1 if self.log else 0) + gap)

    @rule(count=st.integers(1, 5))
    def fetch(self, count: int) -> None:
        for offset in [o for o in self.log if o >= self.fetch_from][:count]:
            self.fetch_from = offset + 1
            handed = self.tracker.deliver(offset)
            held = {*self.in_hand, *self.at_work}
            assert handed == (offset not in self.settled and offset not in held)
            if handed:
                self.in_hand.append(offset)

    @precondition(lambda self: self.in_hand)
    @rule(data=st.data())
    def claim(self, data: st.DataObject) -> None:
        chosen = data.draw(st.sets(st.sampled_from(self.in_hand), min_size=1))
        late = data.draw(st.sets(st.sampled_from(sorted(chosen))))
        early = chosen - late
        state = self.tracker.state(early, starting=late)
        self.commit(state, self.settled | early)
        self.tracker.settle(early)
        self.tracker.start(late)
        self.settled |= early
        self.at_work |= late
        self.suspects -= chosen
        self.deliveries.update(late)
        self.in_hand = [o for o in self.in_hand if o not in chosen]
        assert self.tracker.state().offset == state.offset

    @precondition(lambda self: self.at_work)
    @rule(data=st.data())
    def ack(self, data: st.DataObject) -> None:
        chosen = data.draw(st.sets(st.sampled_from(sorted(self.at_work)), min_size=1))
        self.tracker.settle(chosen)
        self.settled |= chosen
        self.at_work -= chosen
        self.commit(self.tracker.state(), self.settled)

    @precondition(lambda self: self.at_work)
    @rule(data=st.data(), died=st.booleans())
    def stop_work(self, data: st.DataObject, died: bool) -> None:
        chosen = data.draw(st.sets(st.sampled_from(sorted(self.at_work)), min_size=1))
        self.tracker.give_back(chosen, died=died)
        self.at_work -= chosen
        if died:
            self.deaths.update(chosen)
        self.fetch_from = self.tracker.position
        self.commit(self.tracker.state(), self.settled)

    @precondition(lambda self: self.in_hand)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        chosen = data.draw(st.sets(st.sampled_from(self.in_hand), min_size=1))
        self.tracker.give_back(chosen)
        self.in_hand = [o for o in self.in_hand if o not in chosen]
        self.fetch_from = self.tracker.position

    @rule(dies=st.booleans())
    def new_owner(self, dies: bool) -> None:
        if dies:
            self.suspects |= self.at_work
        elif self.tracker.clear_started():
            self.commit(self.tracker.state(), self.settled)
        state = State.parse(self.committed.offset, self.committed.metadata())
        self.tracker = PartitionOffsets(state)
        self.in_hand = []
        self.at_work = set()
        self.fetch_from = state.offset

    def commit(self, state: State, settled: set[int]) -> None:
        assert state.offset >= self.committed.offset, "went back"
        unsettled = [o for o in self.log if o not in settled]
        assert not unsettled or state.offset <= min(unsettled), "passed an unsettled record"
        self.committed = state

    @invariant()
    def nothing_is_forgotten(self) -> None:
        heir = PartitionOffsets(State.parse(self.committed.offset, self.committed.metadata()))
        again = {o for o in self.log if o >= self.committed.offset and heir.deliver(o)}
        assert again == {o for o in self.log if o not in self.settled}
        for offset in again:
            mark = heir.mark(offset) or Mark(0, started=False)
            assert mark.deliveries == self.deliveries[offset]
            assert mark.deaths == self.deaths[offset]
            assert mark.started == (offset in self.at_work | self.suspects)


TrackerMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestTrackerMachine = TrackerMachine.TestCase
