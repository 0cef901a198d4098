from __future__ import annotations

import pytest

from taskq.protocols import Rebalance
from taskq.worker.crowding import Crowding
from taskq.worker.delivery import Delivery
from taskq.worker.hand import Hand
from taskq.worker.keyorder import KeyOrder
from tests.support.clock import FakeClock
from tests.support.fake_channel import FakeChannel
from tests.support.pools import delivery_of


class Stage:
    """A crowding with four partitions, and a hand that a test fills."""

    def __init__(self) -> None:
        self.channel, self.hand, self.order = FakeChannel(), Hand(), KeyOrder()
        self.clock = FakeClock()
        self.crowding = Crowding("q", self.channel, self.hand, self.order, self.clock)
        self.crowding.look_at([Rebalance("assigned", range(4))], owned=4)

    def fill(self, partition: int, count: int, *, key: bytes | None = b"k") -> None:
        """Put so many tasks in hand, of a key that is at work."""
        for _ in range(count):
            delivery = delivery_of("a", partition=partition, key=key)
            self.channel.fetched[delivery.record.delivery_tag] = delivery.record
            self.hand.put(delivery, is_again=False)
        if key is not None:
            self.order.begin([delivery_of("a", partition=partition, key=key)])

    def drain(self, partition: int, count: int) -> None:
        """Have so many of a partition run."""
        own = [each for each in self.hand.deliveries if each.record.partition == partition]
        self.hand.take(own[:count])

    def in_hand(self, partition: int) -> list[Delivery]:
        return [each for each in self.hand.deliveries if each.record.partition == partition]


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_a_hand_that_is_full_for_a_moment_stops_nothing(stage: Stage) -> None:
    stage.fill(2, 1000)

    assert not stage.crowding.relieve(is_for_long=False)

    assert not stage.channel.passed_over


def test_a_known_backlog_stops_at_once_when_the_hand_is_full_again(stage: Stage) -> None:
    stage.fill(2, 1000)
    assert stage.crowding.relieve(is_for_long=True)
    assert stage.channel.passed_over == {2}
    stage.drain(2, 600)
    stage.crowding.look()
    assert not stage.channel.passed_over
    stage.fill(3, 400)
    stage.fill(2, 200)

    assert stage.crowding.relieve(is_for_long=False)

    assert stage.channel.passed_over == {2}


def test_the_tasks_of_a_stopped_partition_leave_room_for_others(stage: Stage) -> None:
    stage.fill(2, 950)
    stage.fill(3, 50)
    assert stage.hand.look_if_full()

    stage.crowding.relieve(is_for_long=True)

    assert stage.hand.room == 950


def test_what_is_more_than_is_kept_is_given_back(stage: Stage) -> None:
    stage.fill(2, 1200)

    stage.crowding.relieve(is_for_long=True)

    assert len(stage.in_hand(2)) == 1000
    assert len(stage.channel.waiting) == 200


def test_a_hand_full_of_tasks_without_a_key_stops_nothing(stage: Stage) -> None:
    stage.fill(2, 1000, key=None)

    assert not stage.crowding.relieve(is_for_long=True)


def test_what_is_forgotten_is_fetched_from(stage: Stage) -> None:
    stage.fill(2, 1000)
    stage.crowding.relieve(is_for_long=True)

    stage.crowding.forget()

    assert not stage.hand.set_aside
