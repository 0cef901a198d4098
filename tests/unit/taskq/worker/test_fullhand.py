from __future__ import annotations

import pytest

from taskq.protocols import Rebalance
from taskq.worker.fullhand import FullHand
from taskq.worker.fullness import PAUSE_AFTER
from taskq.worker.hand import MOST_ABOVE_RATE, MOST_KEYED
from taskq.worker.lateacks import COMMIT_AFTER, LATE_SECONDS
from taskq.worker.room import ROOM_SECONDS
from tests.support.intakebench import IntakeBench

LONGEST = 60.0
"""A longest wait that is not reached."""


class Bench(IntakeBench):
    """A hand that a test fills."""

    def __init__(self) -> None:
        super().__init__()
        self.full_hand = FullHand(
            "q",
            self.hand,
            self.fetcher,
            self.settling,
            order=self.order,
            keyed=self.keyed,
            crowding=self.crowding,
            dispatcher=self.dispatcher,
            stopping=self.stopping,
            clock=self.clock,
        )

    def fill_with_limited(self) -> None:
        for _ in range(MOST_ABOVE_RATE):
            self.put_in_hand("limited")
        assert self.hand.look_if_full()

    def fill_with_key(self, *, owned: int) -> None:
        """Fill the hand with tasks of one key of partition 2, which is at work."""
        self.crowding.look_at([Rebalance("assigned", range(owned))], owned=owned)
        self.begin(partition=2, key=b"k")
        for _ in range(MOST_KEYED):
            self.put_in_hand(partition=2, key=b"k")
        assert self.hand.look_if_full()

    def wait(self, seconds: float = 0.0, *, longest: float = LONGEST) -> None:
        """Have it wait until so many seconds have gone; at least once."""
        end = self.clock.monotonic() + seconds
        while True:
            self.full_hand.wait(self.dispatcher.version, longest)
            if self.clock.monotonic() >= end:
                return


@pytest.fixture
def bench() -> Bench:
    return Bench()


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [getattr(each, "event", "") for each in caplog.records]


def test_a_hand_full_of_tasks_above_their_rate_is_said_once_and_again_after_it_was_empty(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    bench.fill_with_limited()

    bench.wait()
    bench.wait()
    once = events(caplog)
    bench.full_hand.found_empty()
    bench.wait()

    assert once == ["intake.rate_limited"]
    assert events(caplog) == ["intake.rate_limited"] * 2
    assert "200 tasks" in caplog.records[0].getMessage()
    assert "limited" in caplog.records[0].getMessage()


def test_who_waits_for_a_rate_takes_no_records_and_stays_in_the_group(bench: Bench) -> None:
    bench.fill_with_limited()

    bench.wait()
    bench.wait()

    assert bench.channel.calls == ["pause"]
    assert bench.channel.limits == [1, 1]


def test_who_waits_for_a_rate_waits_no_longer_than_until_one_may_start(bench: Bench) -> None:
    bench.fill_with_limited()

    bench.wait()
    bench.wait(longest=0.02)

    assert bench.waits.told == [("event", ROOM_SECONDS), ("event", 0.02)]


def test_what_settles_late_is_settled_while_it_waits_for_a_rate(bench: Bench) -> None:
    bench.fill_with_limited()
    ended, other = bench.begin(late=True), bench.begin(late=True)
    bench.late.ack([ended])
    bench.clock.advance(COMMIT_AFTER)

    bench.wait()

    assert bench.channel.settled == [ended.record.delivery_tag]
    assert bench.late.tags() == [other.record.delivery_tag]
    assert bench.waits.told == [("event", LATE_SECONDS)]


def test_a_hand_full_of_keys_waits_for_one_without_throwing_the_fetched_away(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    bench.fill_with_key(owned=3)

    bench.wait()
    bench.wait(longest=0.01)

    assert bench.waits.told == [("slot", LATE_SECONDS), ("slot", 0.01)]
    assert bench.channel.calls == []
    assert events(caplog) == []


def test_what_settles_late_is_settled_while_it_waits_for_a_key(bench: Bench) -> None:
    bench.fill_with_key(owned=3)
    ended = bench.begin(late=True)
    bench.late.ack([ended])
    bench.clock.advance(COMMIT_AFTER)

    bench.wait()

    assert bench.channel.settled == [ended.record.delivery_tag]


def test_a_hand_that_is_full_of_keys_for_long_makes_room_for_other_partitions(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.fill_with_key(owned=3)
    bench.wait(PAUSE_AFTER)
    bench.waits.told.clear()

    bench.wait()

    assert bench.channel.passed_over == {2}
    assert not bench.hand.is_full
    assert bench.waits.told == []
    assert events(caplog) == ["intake.partition_crowded"]


def test_the_next_backlog_has_its_own_time(bench: Bench) -> None:
    bench.fill_with_key(owned=3)
    bench.wait(PAUSE_AFTER)
    bench.wait()
    bench.begin(partition=1, key=b"other")
    for _ in range(MOST_KEYED):
        bench.put_in_hand(partition=1, key=b"other")
    assert bench.hand.look_if_full()

    bench.wait()

    assert bench.channel.passed_over == {2}


def test_a_channel_that_is_paused_already_is_polled_at_once(bench: Bench) -> None:
    bench.fill_with_key(owned=1)
    bench.fetcher.pause()

    bench.wait()

    assert bench.channel.limits == [1]


def test_the_time_begins_anew_when_the_hand_had_room(bench: Bench) -> None:
    bench.fill_with_key(owned=3)
    bench.wait(PAUSE_AFTER)
    bench.full_hand.found_room()

    bench.wait()

    assert not bench.channel.passed_over


def test_who_has_one_partition_waits_with_its_keys_in_the_group_and_says_so_once(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.fill_with_key(owned=1)
    bench.wait(PAUSE_AFTER)
    bench.waits.told.clear()

    bench.wait()
    bench.wait()
    once = events(caplog)
    bench.full_hand.found_empty()
    bench.wait()

    assert bench.channel.calls == ["pause"]
    assert set(bench.waits.told) == {("slot", ROOM_SECONDS)}
    assert once == ["intake.key_busy"]
    assert events(caplog) == ["intake.key_busy"] * 2


def test_keys_that_are_free_are_not_said_to_be_busy(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    for number in range(MOST_KEYED):
        bench.put_in_hand("limited", key=b"%d" % number)

    bench.wait(PAUSE_AFTER)
    bench.wait()

    assert events(caplog) == ["intake.rate_limited"]


def test_a_hand_full_of_keys_and_rates_says_both(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    bench.put_in_hand("limited")
    bench.fill_with_key(owned=1)

    bench.wait(PAUSE_AFTER)
    bench.wait()

    assert events(caplog) == ["intake.key_busy", "intake.rate_limited"]
    assert "waits with 1 tasks that are above" in caplog.records[1].getMessage()
