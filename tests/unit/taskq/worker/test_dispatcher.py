from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest

from taskq.clock import SystemClock
from taskq.running.runresult import REVOKED, SUCCEEDED, Result
from taskq.timing.revocation import Revocations, revoked_write
from taskq.worker.delivery import Delivery
from taskq.worker.dispatcher import Dispatcher
from tests.support.clock import START
from tests.support.fake_logs import StoredRecord
from tests.support.held_pool import HeldPool
from tests.support.pools import delivery_of


def _cannot_conclude(results: Sequence[tuple[Delivery, Result]]) -> None:
    raise SystemExit("a handler of the app's")


def test_slots_are_released_also_when_what_follows_fails(caplog: pytest.LogCaptureFixture) -> None:
    pool = HeldPool(1)
    dispatcher = Dispatcher(pool, claim_ahead=0, conclude=_cannot_conclude, clock=SystemClock())
    ended, returned = delivery_of("a", id="ended"), delivery_of("a")
    dispatcher.reserve("q", [ended])
    dispatcher.hand_out([ended])
    dispatcher._returned.append(returned)

    dispatcher.on_results(0, [(ended, (SUCCEEDED, 0.1, None, None))])

    assert pool.started == [ended, returned]
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "a[ended]" in record.getMessage()
    assert "SystemExit" in str(record.exc_text)


class Bench:
    """A dispatcher of one slot, and what it concludes."""

    def __init__(self) -> None:
        self.concluded: list[tuple[Delivery, Result]] = []
        self.pool = HeldPool(1)
        self.dispatcher = Dispatcher(
            self.pool, claim_ahead=64, conclude=self.concluded.extend, clock=SystemClock()
        )
        self.revoked = Revocations()

    def revoke(self, delivery: Delivery, *, terminate: bool = False) -> None:
        write = revoked_write(delivery.envelope.id, START, terminate=terminate)
        self.revoked.apply(StoredRecord(write.key, write.value), 0)


def test_pool_is_told_of_what_it_holds_and_is_revoked_as_often_as_one_looks() -> None:
    bench = Bench()
    running, other = delivery_of("a"), delivery_of("a")
    bench.dispatcher.hand_out([running, other])
    bench.revoke(running, terminate=True)

    bench.dispatcher.drop_revoked(bench.revoked)
    bench.dispatcher.drop_revoked(bench.revoked)

    assert bench.pool.dropped == [running, running]
    assert (running.is_revoked, running.is_to_end) == (True, True)
    assert (other.is_revoked, other.is_to_end) == (False, False)


def test_pool_is_not_asked_while_nothing_of_it_is_revoked() -> None:
    bench = Bench()
    bench.dispatcher.hand_out([delivery_of("a")])
    bench.revoke(delivery_of("b"))

    bench.dispatcher.drop_revoked(bench.revoked)

    assert bench.pool.dropped == []


def test_what_came_back_and_waits_for_a_slot_is_dropped_when_it_is_revoked() -> None:
    bench = Bench()
    revoked, kept = delivery_of("a"), delivery_of("a")
    bench.dispatcher._returned.extend([revoked, kept])
    bench.revoke(revoked)

    bench.dispatcher.drop_revoked(bench.revoked)

    assert [(delivery, result[0]) for delivery, result in bench.concluded] == [(revoked, REVOKED)]
    assert bench.dispatcher.unfinished() == [kept]


def test_what_comes_back_and_is_revoked_is_not_handed_out_again() -> None:
    bench = Bench()
    revoked, kept = delivery_of("a"), delivery_of("a")
    assert bench.dispatcher.reserve("q", [revoked])
    bench.dispatcher.hand_out([revoked])
    bench.revoke(revoked)
    bench.dispatcher.drop_revoked(bench.revoked)

    bench.pool.held.remove(revoked)
    bench.dispatcher.on_returned([revoked])
    bench.dispatcher.reserve("q", [kept])
    bench.dispatcher.hand_out([kept])

    assert [(delivery, result[0]) for delivery, result in bench.concluded] == [(revoked, REVOKED)]
    assert bench.pool.started == [revoked, kept]


def test_who_leaves_a_line_in_which_it_does_not_stand_wakes_nobody() -> None:
    dispatcher = Bench().dispatcher
    dispatcher.reserve("busy", [delivery_of("a")])
    assert not dispatcher.reserve("waits", [delivery_of("a")])

    before = dispatcher.version
    dispatcher.leave_line("waits")
    assert dispatcher.version > before

    before = dispatcher.version
    dispatcher.leave_line(
        "waits"
    )  # a queue whose keys are busy does so at each turn, and waits for a change then
    assert dispatcher.version == before
