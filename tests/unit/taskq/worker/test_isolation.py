from __future__ import annotations

from taskq.worker.delivery import Delivery
from taskq.worker.isolation import Isolation, in_order_of_suspicion, seconds_alone
from tests.support.pools import delivery_of


def _suspect(deliveries: int = 1, *, lived: bool = False) -> Delivery:
    delivery = delivery_of("a", deliveries=deliveries, is_suspect=True, lived=lived)
    delivery.is_suspect = True
    return delivery


def test_the_time_alone_grows_with_each_delivery_and_is_bounded() -> None:
    assert [seconds_alone(count) for count in (0, 1, 2, 3, 4)] == [2, 2, 8, 32, 128]
    assert seconds_alone(1000) == seconds_alone(7)


def test_the_likeliest_suspect_comes_first_and_others_keep_their_order() -> None:
    lived, earlier, later = _suspect(lived=True), _suspect(), _suspect()
    plain = [delivery_of("a"), delivery_of("a")]

    hand = sorted([lived, plain[0], earlier, plain[1], later], key=in_order_of_suspicion)

    assert hand == [later, earlier, lived, *plain]


def test_a_suspect_is_alone_for_its_time_and_no_longer() -> None:
    isolation, suspect, other = Isolation(), _suspect(), delivery_of("a")

    isolation.begin([suspect, other], 100.0)

    assert isolation.ended(101.9) == []
    assert isolation.ended(102.0) == [suspect]
    assert isolation.ended(103.0) == []


def test_a_wait_for_an_empty_process_begins_anew_with_each_suspect() -> None:
    isolation, first, second = Isolation(), _suspect(), _suspect()

    assert not isolation.is_awaited_long(first, 100.0)
    assert isolation.is_awaited_long(first, 102.0)
    assert not isolation.is_awaited_long(second, 102.0)
