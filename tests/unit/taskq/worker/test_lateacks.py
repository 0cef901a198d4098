from __future__ import annotations

import threading

from taskq.worker.delivery import Delivery
from taskq.worker.lateacks import COMMIT_AFTER, LateAcks
from tests.support.pools import delivery_of


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _begun(count: int, *, partition: int = 0) -> tuple[LateAcks, list[Delivery], Time]:
    time = Time()
    acks = LateAcks(time)
    deliveries = [delivery_of("a", partition=partition) for _ in range(count)]
    acks.begin(deliveries)
    return acks, deliveries, time


def _tags(*deliveries: Delivery) -> list[int]:
    return [delivery.record.delivery_tag for delivery in deliveries]


def test_what_has_ended_is_taken_once() -> None:
    acks, (first, second), _ = _begun(2)

    acks.ack([first])
    acks.ack([first])
    acks.died(second)
    acks.ack([second])

    assert (acks.take_acked(), acks.take_died()) == (_tags(first), _tags(second))
    assert (acks.take_acked(), acks.take_died()) == ((), ())
    assert acks.is_empty()


def test_an_ack_waits_for_a_claim_a_tenth_of_a_second_and_a_death_does_not() -> None:
    acks, (first, second), time = _begun(2)

    acks.ack([first])
    at_once = acks.is_due
    time.now += 2 * COMMIT_AFTER
    later = acks.is_due
    acks.take_acked()
    taken = acks.is_due
    acks.died(second)

    assert (at_once, later, taken, acks.is_due) == (False, True, False, True)


def test_the_end_of_what_a_rebalance_has_taken_settles_nothing() -> None:
    acks, (gone, kept), _ = _begun(2)

    assert acks.forget_unless(_tags(kept)) == [gone]
    acks.ack([gone, kept])

    assert gone.is_void
    assert acks.take_acked() == _tags(kept)


def test_what_is_at_work_is_found_by_its_place() -> None:
    acks, (first, _), _ = _begun(2, partition=3)

    assert acks.find(3, first.record.offset) is first
    assert acks.find(2, first.record.offset) is None


def test_partitions_that_go_wait_for_what_is_at_work_of_them_only() -> None:
    acks, (other,), _ = _begun(1, partition=1)
    mine = delivery_of("a", partition=0)
    acks.begin([mine])
    ends = threading.Timer(0.001, acks.ack, [[mine]])

    ends.start()
    acks.wait_ended([0], 10.0, unless=lambda: False)

    assert acks.take_acked() == _tags(mine)
    assert acks.tags() == _tags(other)


def test_nobody_waits_for_what_is_at_work_when_all_is_to_be_let_go() -> None:
    acks, _, _ = _begun(1)

    acks.wait_ended([0], 10.0, unless=lambda: True)

    assert acks.tags()
