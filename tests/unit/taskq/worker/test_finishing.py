from __future__ import annotations

import pytest

from taskq.timing.revocation import Revocations
from taskq.worker.delivery import Delivery
from taskq.worker.finishing import Finishing
from taskq.worker.heldruns import HeldRuns
from taskq.worker.lateacks import LATE_SECONDS
from tests.support.intakebench import IntakeBench
from tests.support.pools import record_of

REVOKE_SECONDS = 2.0
STOP_SECONDS = 5.0


class Bench(IntakeBench):
    """What an intake does when partitions go, and at a stop."""

    def __init__(self) -> None:
        super().__init__()
        held = HeldRuns(
            self.order,
            self.keyed,
            self.line,
            self.dispatcher,
            self.settling,
            self.suspects,
            Revocations(),
            self.clock,
        )
        self.finishing = Finishing(
            self.channel,
            self.fetcher,
            self.settling,
            held,
            order=self.order,
            letting_go=self.letting_go,
            clock=self.clock,
        )

    def let_go_at(self, wait: int) -> None:
        """Have a stop be impatient at so manieth a wait."""

        def meanwhile() -> None:
            if len(self.waits.told) >= wait:
                self.letting_go.set()

        self.waits.meanwhile = meanwhile

    def end_when_it_runs(self, delivery: Delivery) -> None:
        """Have a task with a key end when it has been handed out."""

        def meanwhile() -> None:
            if delivery in self.pool.started:
                self.order.ended(delivery)

        self.waits.meanwhile = meanwhile


@pytest.fixture
def bench() -> Bench:
    return Bench()


# Partitions go


def test_what_ends_while_its_partition_goes_is_settled(bench: Bench) -> None:
    ending = bench.begin(late=True)
    bench.waits.meanwhile = lambda: bench.late.ack([ending])

    bench.finishing.before_revoke([0])

    assert bench.waits.told == [("ends", REVOKE_SECONDS)]
    assert bench.channel.settled == [ending.record.delivery_tag]


def test_what_does_not_end_in_time_lets_its_partition_go_unsettled(bench: Bench) -> None:
    bench.begin(late=True)

    bench.finishing.before_revoke([0])

    assert bench.clock.monotonic() == REVOKE_SECONDS
    assert bench.channel.settled == []


def test_what_runs_of_other_partitions_is_not_waited_for(bench: Bench) -> None:
    bench.begin(partition=1, late=True)
    bench.begin(partition=2, key=b"k")

    bench.finishing.before_revoke([0])

    assert bench.waits.told == []


def test_a_task_with_a_key_is_waited_for_until_it_has_ended(bench: Bench) -> None:
    keyed = bench.begin(key=b"k")

    def meanwhile() -> None:
        if len(bench.waits.told) == 3:
            bench.order.ended(keyed)

    bench.waits.meanwhile = meanwhile

    bench.finishing.before_revoke([0])

    assert bench.waits.told == [("key", LATE_SECONDS)] * 3


def test_keys_and_late_tasks_have_the_same_two_seconds(bench: Bench) -> None:
    bench.begin(key=b"k")
    bench.begin(late=True)

    def meanwhile() -> None:
        if len(bench.waits.told) == 1:
            bench.clock.advance(0.05)  # so that the last wait has to be shorter

    bench.waits.meanwhile = meanwhile

    bench.finishing.before_revoke([0])

    assert bench.clock.monotonic() == pytest.approx(REVOKE_SECONDS)
    assert bench.waits.of("ends") == []


def test_a_held_task_that_is_due_in_time_runs_before_its_partition_goes(bench: Bench) -> None:
    again = bench.hold(bench.begin(key=b"k"), after=0.05)
    bench.end_when_it_runs(again)

    bench.finishing.before_revoke([0])

    assert bench.pool.started == [again]
    assert bench.waits.told == [("key", 0.05), ("key", LATE_SECONDS)]


@pytest.mark.parametrize("late", [True, False])
def test_a_held_task_that_is_due_later_is_not_waited_for(bench: Bench, late: bool) -> None:
    bench.hold(bench.begin(key=b"k", late=late), after=REVOKE_SECONDS + 1)

    bench.finishing.before_revoke([0])

    assert bench.waits.told == []


def test_a_held_task_that_is_due_and_finds_no_slot_does_not_make_the_thread_spin(
    bench: Bench,
) -> None:
    bench.fill()
    bench.hold(bench.begin(key=b"k"), after=0)

    bench.finishing.before_revoke([0])

    assert min(bench.waits.of("key")[:-1]) > 0
    assert bench.clock.monotonic() == pytest.approx(REVOKE_SECONDS)


@pytest.mark.parametrize(("key", "late"), [(b"k", False), (None, True)])
def test_an_impatient_stop_ends_the_wait_for_what_runs(
    bench: Bench, key: bytes | None, late: bool
) -> None:
    bench.begin(key=key, late=late)
    bench.letting_go.set()

    bench.finishing.before_revoke([0])

    assert bench.waits.told == []


# The worker stops


def test_a_stop_with_nothing_at_work_does_nothing(bench: Bench) -> None:
    bench.finishing.at_stop()

    assert bench.channel.calls == []
    assert not bench.finishing.is_under_way


def test_a_stop_stays_in_the_group_without_taking_more_until_all_is_settled(bench: Bench) -> None:
    ending = bench.begin(late=True)
    bench.channel.put(record_of("a"))
    seen: list[bool] = []

    def meanwhile() -> None:
        seen.append(bench.finishing.is_under_way)
        if len(seen) == 3:
            bench.late.ack([ending])

    bench.waits.meanwhile = meanwhile

    bench.finishing.at_stop()

    assert seen[:3] == [True] * 3
    assert set(bench.waits.told) == {("end", LATE_SECONDS)}
    assert bench.channel.calls[0] == "pause"
    assert "fetch" not in bench.channel.calls
    assert len(bench.channel.limits) == len(seen), "it polled before each wait"
    assert bench.channel.settled == [ending.record.delivery_tag]
    assert bench.channel.calls[-1] == "commit"
    assert not bench.finishing.is_under_way


def test_a_stop_is_under_way_until_the_broker_has_what_has_ended(bench: Bench) -> None:
    bench.late.ack([bench.begin(late=True)])
    bench.channel.answers = False

    bench.finishing.at_stop()

    assert bench.finishing.is_under_way


def test_a_stop_gives_back_at_once_what_a_process_died_with(bench: Bench) -> None:
    died = bench.begin(late=True)
    bench.late.died(died)

    bench.finishing.at_stop()

    assert bench.channel.died == [died.record.delivery_tag]
    assert bench.waits.told in ([], [("end", LATE_SECONDS)])


def test_a_stop_waits_for_what_has_a_key_and_was_claimed_before_its_run(bench: Bench) -> None:
    keyed = bench.begin(key=b"k")
    bench.waits.meanwhile = lambda: bench.order.ended(keyed)

    bench.finishing.at_stop()

    assert bench.waits.told == [("key", LATE_SECONDS)]
    assert not bench.finishing.is_under_way


def test_an_impatient_stop_leaves_what_is_at_work_to_the_channels_close(bench: Bench) -> None:
    bench.begin(late=True)
    bench.let_go_at(2)

    bench.finishing.at_stop()

    assert len(bench.waits.told) == 2
    assert bench.channel.settled == []
    assert bench.finishing.is_under_way


def test_what_has_ended_at_the_last_moment_of_an_impatient_stop_is_settled(bench: Bench) -> None:
    ending, other = bench.begin(late=True), bench.begin(late=True)

    def meanwhile() -> None:
        bench.late.ack([ending])
        bench.letting_go.set()

    bench.waits.meanwhile = meanwhile

    bench.finishing.at_stop()

    assert bench.channel.settled == [ending.record.delivery_tag]
    assert bench.late.tags() == [other.record.delivery_tag]


def test_what_a_process_died_with_at_the_last_moment_of_an_impatient_stop_is_given_back(
    bench: Bench,
) -> None:
    died, _ = bench.begin(late=True), bench.begin(late=True)

    def meanwhile() -> None:
        bench.late.died(died)
        bench.letting_go.set()

    bench.waits.meanwhile = meanwhile

    bench.finishing.at_stop()

    assert bench.channel.died == [died.record.delivery_tag]


def test_a_stop_runs_what_is_held_as_soon_as_it_is_due(bench: Bench) -> None:
    again = bench.hold(bench.begin(key=b"k"), after=0.05)
    bench.end_when_it_runs(again)

    bench.finishing.at_stop()

    assert bench.waits.told == [("key", 0.05), ("key", LATE_SECONDS)]


def test_a_stop_runs_what_is_held_and_due_soon(bench: Bench) -> None:
    again = bench.hold(bench.begin(key=b"k"), after=STOP_SECONDS - 1)
    bench.end_when_it_runs(again)

    bench.finishing.at_stop()

    assert bench.pool.started == [again]
    assert bench.handed_on == []


def test_a_stop_hands_what_is_held_for_longer_to_the_timers_without_a_wait(bench: Bench) -> None:
    bench.hold(bench.begin(key=b"k"), after=STOP_SECONDS + 1)

    bench.finishing.at_stop()

    assert len(bench.handed_on) == 1
    assert bench.clock.monotonic() <= LATE_SECONDS
    assert bench.order.is_empty


def test_a_stop_gives_back_what_settles_late_and_is_held_for_longer(bench: Bench) -> None:
    again = bench.hold(bench.begin(key=b"k", late=True), after=STOP_SECONDS + 1)

    bench.finishing.at_stop()

    assert bench.channel.waiting == [again.record]
    assert bench.channel.died == []
    assert bench.handed_on == []


def test_an_impatient_stop_hands_on_what_is_held_however_soon_it_is_due(bench: Bench) -> None:
    bench.hold(bench.begin(key=b"k"), after=STOP_SECONDS - 1)
    bench.let_go_at(1)

    bench.finishing.at_stop()

    assert bench.pool.started == []
    assert len(bench.handed_on) == 1
