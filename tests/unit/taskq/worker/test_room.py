from __future__ import annotations

import pytest

from taskq.worker.fullness import ASK_EVERY, LEAVE_AFTER, PAUSE_AFTER
from taskq.worker.lateacks import LATE_SECONDS
from taskq.worker.outbox import LIMIT
from taskq.worker.room import ROOM_SECONDS, Room
from tests.support.intakebench import IntakeBench
from tests.support.pools import record_of


class Bench(IntakeBench):
    """A room whose only slot is taken, with another worker in the group and a record in hand."""

    def __init__(self) -> None:
        super().__init__()
        self.room = Room(
            "q",
            self.channel,
            self.fetcher,
            self.hand,
            self.settling,
            dispatcher=self.dispatcher,
            outbox=self.outbox,
            progress=self.progress,
            clock=self.clock,
        )
        self.running = self.fill()
        self.channel.others = 1
        self.put_in_hand()

    def wait(self, seconds: float = 0.0) -> None:
        """Have it find no slot, for so many seconds."""
        end = self.clock.monotonic() + seconds
        while True:
            self.room.wait(self.dispatcher.version)
            if self.clock.monotonic() >= end or self.room.has_left:
                return

    def leave(self) -> None:
        self.wait(LEAVE_AFTER + ASK_EVERY)
        assert self.room.has_left
        self.channel.calls.clear()
        self.waits.told.clear()


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_slot_that_is_free_soon_costs_no_pause(bench: Bench) -> None:
    bench.wait(PAUSE_AFTER / 2)

    assert set(bench.waits.of("slot")) == {ROOM_SECONDS}
    assert bench.channel.calls == []


def test_who_finds_no_slot_for_long_pauses_and_polls_at_each_wait(bench: Bench) -> None:
    bench.wait(PAUSE_AFTER)
    bench.channel.calls.clear()

    bench.wait()
    bench.wait()

    assert bench.channel.calls == ["pause"]
    assert bench.fetcher.is_paused
    assert bench.channel.limits == [1, 1]


def test_a_slot_that_was_found_begins_the_wait_for_the_pause_anew(bench: Bench) -> None:
    bench.wait(PAUSE_AFTER)
    bench.room.found()

    bench.wait()

    assert not bench.fetcher.is_paused


def test_what_settles_late_is_settled_soon_also_while_no_slot_is_free(bench: Bench) -> None:
    bench.begin(late=True)

    bench.wait()

    assert bench.waits.told == [("slot", LATE_SECONDS)]


def test_a_worker_that_is_full_for_long_leaves_its_partitions_to_others(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    seen: list[bool] = []
    bench.waits.meanwhile = lambda: seen.append(bench.room.has_left)

    bench.wait(LEAVE_AFTER - ROOM_SECONDS)
    early = list(bench.channel.calls)
    bench.wait(2 * ROOM_SECONDS)

    assert "other_members" not in early
    assert bench.room.has_left
    assert bench.channel.calls[-2:] == ["other_members", "leave"]
    assert not any(seen), "who has left does not wait first"
    assert not bench.hand
    assert [getattr(each, "event", "") for each in caplog.records] == ["intake.left"]


def test_who_is_alone_in_the_group_stays_and_asks_again_after_a_while(bench: Bench) -> None:
    bench.channel.others = 0

    bench.wait(LEAVE_AFTER + ASK_EVERY - ROOM_SECONDS)
    first = bench.channel.calls.count("other_members")
    bench.wait(3 * ROOM_SECONDS)

    assert (first, bench.channel.calls.count("other_members")) == (1, 2)
    assert not bench.room.has_left


def test_the_question_for_others_is_told_to_those_who_judge_the_thread(bench: Bench) -> None:
    told: list[str] = []
    ask = bench.channel.other_members

    def other_members() -> int:
        told.append(bench.progress.waits_for)
        return ask()

    bench.channel.other_members = other_members  # type: ignore[method-assign]  # to see what is told meanwhile

    bench.leave()

    assert told == ["the number of workers"]


@pytest.mark.parametrize("is_late", [True, False])
def test_who_needs_the_group_for_what_is_at_work_never_leaves_it(
    bench: Bench, is_late: bool
) -> None:
    bench.begin(late=is_late, key=None if is_late else b"k")

    bench.wait(2 * LEAVE_AFTER)

    assert "other_members" not in bench.channel.calls
    assert not bench.room.has_left


def test_a_full_worker_stays_while_nothing_waits_for_it(bench: Bench) -> None:
    bench.hand.drop()

    bench.wait(2 * LEAVE_AFTER)

    assert "other_members" not in bench.channel.calls


def test_records_that_wait_in_the_queue_alone_let_a_full_worker_leave_too(bench: Bench) -> None:
    bench.hand.drop()
    bench.channel.put(record_of("a"))

    bench.wait(2 * LEAVE_AFTER)

    assert bench.room.has_left


def test_who_has_left_waits_for_a_slot(bench: Bench) -> None:
    bench.leave()

    bench.room.wait_outside()

    assert bench.room.has_left
    assert bench.waits.told == [("slot", ROOM_SECONDS)]
    assert bench.channel.calls == []


def test_a_free_slot_brings_it_back(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.leave()
    bench.end(bench.running)
    caplog.set_level("INFO")

    bench.room.wait_outside()

    assert not bench.room.has_left
    assert bench.channel.calls == ["rejoin"]
    assert [getattr(each, "event", "") for each in caplog.records] == ["intake.rejoined"]


def test_a_free_slot_does_not_bring_it_back_while_too_much_is_unwritten(bench: Bench) -> None:
    bench.leave()
    bench.end(bench.running)
    bench.outbox._entries = [None] * LIMIT  # type: ignore[list-item]  # only counted

    bench.room.wait_outside()

    assert bench.room.has_left
    assert bench.waits.of("slot") == [ROOM_SECONDS]


def test_who_came_back_does_not_pause_at_once(bench: Bench) -> None:
    bench.leave()
    bench.end(bench.running)
    bench.room.wait_outside()
    bench.fill()

    bench.wait()

    assert not bench.fetcher.is_paused
