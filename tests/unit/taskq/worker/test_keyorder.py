from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Iterator

import pytest

from taskq.worker.delivery import Delivery
from taskq.worker.keyorder import MOST_HELD, KeyOrder
from tests.support.pools import delivery_of


def keyed(key: bytes | None, offset: int = 0, *, partition: int = 0) -> Delivery:
    return delivery_of("a", key=key, offset=offset, partition=partition)


def offsets(deliveries: object) -> list[int]:
    assert isinstance(deliveries, list)
    return [delivery.record.offset for delivery in deliveries]


def begun(order: KeyOrder, delivery: Delivery) -> Delivery:
    order.begin([delivery])
    return delivery


def test_the_first_of_each_key_may_start_and_all_that_have_none() -> None:
    hand = [keyed(b"x", 1), keyed(b"x", 2), keyed(None, 3), keyed(b"y", 4), keyed(None, 5)]

    assert offsets(KeyOrder().split(hand)) == [1, 3, 4, 5]


def test_an_empty_key_is_none() -> None:
    assert offsets(KeyOrder().split([keyed(b"", 1), keyed(b"", 2)])) == [1, 2]


def test_the_next_of_a_key_may_start_when_the_one_at_work_has_ended() -> None:
    order = KeyOrder()
    first, second = begun(order, keyed(b"x", 1)), keyed(b"x", 2)

    before = order.split([second])
    order.ended(first)

    assert (before, order.split([second]), order.is_empty) == ([], [second], True)


def test_a_task_that_ends_while_a_hand_is_looked_at_lets_no_later_one_pass() -> None:
    order = KeyOrder()
    first = begun(order, keyed(b"x", 1))

    class Hand(list[Delivery]):
        def __iter__(self) -> Iterator[Delivery]:
            yield keyed(b"x", 2)
            order.ended(first)
            yield keyed(b"x", 3)

    assert offsets(order.split(Hand())) == []


def test_a_key_is_busy_while_its_task_waits_for_its_next_run() -> None:
    order = KeyOrder()
    first, again, second = begun(order, keyed(b"x", 1)), keyed(b"x", 1), keyed(b"x", 2)

    assert order.hold(first, again, due=10.0, due_ms=0)
    order.ended(first)

    assert order.split([second]) == []
    assert (order.due(9.9), order.due(10.0)) == ([], [again])
    assert math.isclose(order.wait(9.0), 1.0)
    order.resume([again])
    assert (order.due(10.0), order.wait(9.0)) == ([], math.inf)
    order.ended(again)
    assert order.split([second]) == [second]


def test_what_was_given_back_comes_before_the_others_of_its_key() -> None:
    order = KeyOrder()
    first, second = begun(order, keyed(b"x", 1)), keyed(b"x", 2)

    order.await_again([first])
    order.given_back([first.record.delivery_tag])
    order.ended(first)

    assert order.split([second]) == []
    assert not order.came(1, 1), "it is another partition's"
    assert order.came(0, 1)
    assert offsets(order.split([keyed(b"x", 1), second])) == [1]


def test_what_was_given_back_and_is_gone_from_its_partition_is_not_awaited_for_ever() -> None:
    order = KeyOrder()
    gone = begun(order, keyed(b"x", 1))
    order.await_again([gone])
    order.given_back([gone.record.delivery_tag])

    assert not order.came(0, 7)
    assert offsets(order.split([keyed(b"x", 2)])) == [2]


def test_nothing_is_awaited_of_a_partition_that_is_read_anew() -> None:
    order = KeyOrder()
    order.await_again([begun(order, keyed(b"x", 1))])
    order.await_again([begun(order, keyed(b"y", 1, partition=1))])

    order.forget_awaited([0])

    assert order.split([keyed(b"x", 2), keyed(b"y", 3, partition=1)])[0].key == b"x"
    assert len(order.split([keyed(b"x", 2), keyed(b"y", 3, partition=1)])) == 1


def test_when_too_much_is_held_only_tasks_without_a_key_start() -> None:
    order = KeyOrder()
    for number in range(MOST_HELD):
        key = b"%d" % number
        assert order.hold(begun(order, keyed(key)), keyed(key), due=1.0, due_ms=0)

    assert offsets(order.split([keyed(b"x", 1), keyed(None, 2)])) == [2]
    order.resume(order.due(1.0)[:1])
    assert offsets(order.split([keyed(b"x", 1), keyed(None, 2)])) == [1, 2]


def test_an_order_that_is_closed_holds_nothing() -> None:
    order = KeyOrder()
    held, running = begun(order, keyed(b"x", 1)), begun(order, keyed(b"y", 1))
    order.hold(held, again := keyed(b"x", 1), due=10.0, due_ms=7)

    given_up = order.close()

    assert [(each.delivery, each.due_ms) for each in given_up] == [(again, 7)]
    assert not order.hold(running, keyed(b"y", 1), due=10.0, due_ms=7)


def test_a_partition_is_at_work_until_what_runs_has_ended_and_what_is_held_is_due_later() -> None:
    order = KeyOrder()
    first = begun(order, keyed(b"x", 1))

    assert order.is_at_work([0], until=1.0)
    assert not order.is_at_work([1], until=1.0)
    order.hold(first, keyed(b"x", 1), due=5.0, due_ms=0)
    assert order.is_at_work([0], until=5.0)
    assert not order.is_at_work([0], until=4.9)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_each_key_runs_in_order_and_one_at_a_time(seed: int) -> None:
    dice = random.Random(seed)
    keys = [None, *(f"k{number}".encode() for number in range(dice.randint(1, 6)))]
    log = [keyed(dice.choice(keys), offset) for offset in range(120)]
    order, now, hand, running, fetched = KeyOrder(), 0.0, [], dict[Delivery, float](), 0
    starts: dict[bytes | None, list[int]] = defaultdict(list)
    finished: set[int] = set()

    while len(finished) < len(log):
        now += 1.0
        hand += log[fetched : fetched + 10]
        fetched = min(len(log), fetched + 10)
        again = order.due(now)
        order.resume(again)
        ready = list(order.split(hand))[: dice.randint(0, 8)]
        order.begin(ready)
        hand = [each for each in hand if each not in ready]
        for each in [*again, *ready]:
            assert each.key is None or each.key not in {other.key for other in running}
            running[each] = now + dice.randint(1, 9)
            starts[each.key].append(each.record.offset)
        for each in [each for each, end in running.items() if end <= now]:
            del running[each]
            fate = dice.random() if each.key is not None else 1.0
            if fate < 0.2:
                due = now + dice.randint(0, 5)
                assert order.hold(each, keyed(each.key, each.record.offset), due=due, due_ms=0)
            elif fate < 0.3:  # its process died: it comes again
                order.await_again([each])
                order.given_back([each.record.delivery_tag])
                order.came(0, each.record.offset)
                hand.append(keyed(each.key, each.record.offset))
                hand.sort(key=lambda one: one.record.offset)
            else:
                finished.add(each.record.offset)
            order.ended(each)
        assert now < 10_000, "something starves"

    assert order.is_empty
    for key, began in starts.items():
        assert key is None or began == sorted(began)
