from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from taskq.worker.delivery import Delivery
from taskq.worker.hand import MOST_ABOVE_RATE, MOST_BYTES, MOST_KEYED, Hand, Load
from tests.support.clock import START
from tests.support.pools import delivery_of


def hand_of(*deliveries: Delivery) -> Hand:
    hand = Hand()
    for delivery in deliveries:
        hand.put(delivery, is_again=False)
    return hand


def offsets(hand: Hand) -> list[int]:
    return [delivery.record.offset for delivery in hand.deliveries]


def at(offset: int, **more: Any) -> Delivery:
    return delivery_of("a", offset=offset, **more)


def test_what_comes_stands_behind_what_is_in_hand() -> None:
    assert offsets(hand_of(at(7), at(3), at(5))) == [7, 3, 5]


def test_what_comes_again_stands_before_those_of_its_partition_that_are_behind_it() -> None:
    hand = hand_of(at(3), at(9, partition=1), at(6), at(8))

    hand.put(at(5), is_again=True)

    assert offsets(hand) == [3, 9, 5, 6, 8]


def test_what_comes_again_behind_all_of_its_partition_is_the_last() -> None:
    hand = hand_of(at(3), at(9, partition=1))

    hand.put(at(5), is_again=True)

    assert offsets(hand) == [3, 9, 5]


def test_suspects_stand_before_others_which_keep_their_order() -> None:
    first, suspect, last = at(1), at(2), at(3)
    suspect.is_suspect = True
    hand = hand_of(first, suspect, last)

    hand.sort_suspects()

    assert offsets(hand) == [2, 1, 3]


@pytest.mark.parametrize("taken", [[0, 1], [1, 2], [0, 2]])
def test_what_is_taken_is_not_in_hand_any_more(taken: list[int]) -> None:
    deliveries = [at(offset) for offset in range(4)]
    hand = hand_of(*deliveries)

    hand.take([deliveries[place] for place in taken])

    assert offsets(hand) == [offset for offset in range(4) if offset not in taken]


def test_only_what_is_held_still_is_kept() -> None:
    hand = hand_of(at(1), at(2), at(3))

    hand.keep({1, 3})

    assert offsets(hand) == [1, 3]


def test_what_expires_is_taken_out_when_its_time_has_passed() -> None:
    soon, later = (
        at(offset, extra={"expires": (START + timedelta(seconds=seconds)).isoformat()})
        for offset, seconds in ((1, 10), (2, 100))
    )
    hand = hand_of(soon, later, at(3))

    before = hand.take_expired(START)
    after = hand.take_expired(START + timedelta(seconds=11))

    assert (before, after) == ([], [soon])
    assert offsets(hand) == [2, 3]
    assert hand.may_expire


def test_a_hand_in_which_nothing_expires_is_not_looked_through() -> None:
    assert not hand_of(at(1)).may_expire


def test_what_was_revoked_is_taken_out() -> None:
    revoked = at(2, id="revoked")
    hand = hand_of(at(1), revoked, at(3))

    assert hand.take_revoked({"revoked"}) == [revoked]
    assert offsets(hand) == [1, 3]


def test_a_full_hand_is_full_until_half_of_it_has_gone() -> None:
    deliveries = [at(offset) for offset in range(MOST_ABOVE_RATE)]
    hand = hand_of(*deliveries[:-1])

    looks = [hand.look_if_full()]
    hand.put(deliveries[-1], is_again=False)
    looks.append(hand.look_if_full())
    hand.take(deliveries[: MOST_ABOVE_RATE // 2])
    looks.append(hand.look_if_full())
    hand.take(deliveries[MOST_ABOVE_RATE // 2 :][:1])
    looks.append(hand.look_if_full())

    assert looks == [False, True, True, False]


def test_a_hand_of_large_records_is_full_by_their_size() -> None:
    large = at(1)
    large.size = MOST_BYTES

    assert hand_of(large).look_if_full()


def test_more_may_wait_where_there_are_keys_until_the_hand_is_found_empty() -> None:
    keyed = at(1, key=b"k")
    hand = hand_of(keyed)

    before = hand.most
    hand.take([keyed])
    hand.found_empty()

    assert (before, hand.most) == (MOST_KEYED, MOST_ABOVE_RATE)


def test_a_dropped_hand_is_empty() -> None:
    hand = hand_of(at(1))

    hand.drop()

    assert len(hand) == 0


def test_what_is_set_aside_does_not_fill_a_hand() -> None:
    hand = hand_of(*(at(place, partition=1, key=b"k") for place in range(MOST_KEYED)), at(7))
    assert hand.look_if_full()

    hand.set_aside = frozenset({1})

    assert not hand.look_if_full()
    assert hand.room == MOST_KEYED - 1


def test_the_last_of_a_partition_are_taken_whatever_their_place() -> None:
    hand = hand_of(at(9, partition=1), at(3), at(4, partition=1), at(6, partition=1), at(8))

    taken = hand.take_last(1, but=Load(2, MOST_BYTES))

    assert [each.record.offset for each in taken] == [9]
    assert offsets(hand) == [3, 4, 6, 8]


def test_of_large_ones_so_many_are_left_as_fit_and_one_at_least() -> None:
    size = at(0).size
    hand = hand_of(*(at(place) for place in range(4)))

    assert len(hand.take_last(0, but=Load(4, 2 * size))) == 2
    assert len(hand.take_last(0, but=Load(4, 1))) == 1
    assert offsets(hand) == [0]


def test_nothing_is_taken_of_a_partition_that_has_not_too_much() -> None:
    hand = hand_of(at(1), at(2))

    assert not hand.take_last(0, but=Load(2, MOST_BYTES))
    assert offsets(hand) == [1, 2]
