from __future__ import annotations

import pytest

from taskq.worker.crowds import EASED_AFTER, Crowds
from taskq.worker.hand import MOST_BYTES, MOST_KEYED, Load


def crowds_of(owned: int) -> Crowds:
    crowds = Crowds()
    crowds.owned = owned
    return crowds


def stopped_with(kept: int) -> Crowds:
    """Return crowds of which partition 5 is one, with so many in hand."""
    crowds = crowds_of(12)
    crowds.stop(5)
    crowds.keep(5, kept)
    return crowds


def find(crowds: Crowds, **counts: int) -> list[int]:
    """Ask with a hand in which all wait for their keys: `p3=40` is 40 of partition 3."""
    loads = {int(name[1:]): Load(count) for name, count in counts.items()}
    return crowds.find(loads, loads)


def test_a_full_hand_stops_the_partition_that_has_most_of_it() -> None:
    assert find(crowds_of(12), p3=40, p5=900, p6=60) == [5]


def test_a_hand_that_is_full_of_many_partitions_stops_the_largest_until_half_of_it_is_free() -> (
    None
):
    assert find(crowds_of(4), p0=300, p1=400, p2=250, p3=50) == [1, 0]


@pytest.mark.parametrize("owned", [2, 3, 7, 12, 100, 1000])
def test_an_evenly_full_hand_stops_some(owned: int) -> None:
    each, more = divmod(MOST_KEYED, owned)
    loads = {number: Load(each + (number < more)) for number in range(owned)}

    assert crowds_of(owned).find(loads, loads)


def test_large_tasks_are_a_crowd_though_they_are_few() -> None:
    loads = {3: Load(20, MOST_BYTES), 4: Load(2, 100)}

    assert crowds_of(12).find(loads, loads) == [3]


def test_the_only_partition_is_never_stopped() -> None:
    assert find(crowds_of(1), p0=MOST_KEYED) == []


def test_a_hand_that_is_full_of_what_waits_for_no_key_stops_nothing() -> None:
    in_hand, waiting = {3: Load(960), 4: Load(40)}, {3: Load(20), 4: Load(40)}

    assert crowds_of(12).find(in_hand, waiting) == []


def test_what_is_kept_of_all_crowds_has_a_bound() -> None:
    crowds = crowds_of(1000)
    for partition in range(80):
        crowds.stop(partition)
        kept = crowds.kept
        assert 50 <= kept.count <= MOST_KEYED
        assert kept.count * (partition + 1) <= 4000
        assert kept.size * (partition + 1) <= MOST_BYTES

    assert find(crowds, p900=MOST_KEYED) == []


def test_a_stopped_partition_goes_on_when_half_of_what_was_kept_has_gone() -> None:
    crowds = stopped_with(300)

    crowds.look({5: Load(151)}, 1.0)
    assert crowds.stopped == {5}
    crowds.look({5: Load(150)}, 2.0)
    assert crowds.stopped == frozenset()


def test_a_stopped_partition_goes_on_when_nothing_is_left_of_it() -> None:
    crowds = stopped_with(1)

    crowds.look({}, 1.0)

    assert crowds.stopped == frozenset()


@pytest.mark.parametrize("refilled", [Load(MOST_KEYED), Load(2, MOST_BYTES)])
def test_a_crowd_that_goes_on_stops_at_once_when_as_much_as_is_kept_is_in_hand(
    refilled: Load,
) -> None:
    crowds = stopped_with(1000)
    crowds.look({5: Load(100)}, 1.0)

    assert crowds.look({5: refilled}, 1.1) == []

    assert crowds.stopped == {5}
    assert crowds.look({5: Load(refilled.count // 2 + 1)}, 100.0) == []
    assert crowds.stopped == {5}


def test_a_partition_that_goes_on_for_some_seconds_is_a_crowd_no_more() -> None:
    crowds = stopped_with(300)
    crowds.look({5: Load(100)}, 1.0)

    assert crowds.look({5: Load(100)}, 1.0 + EASED_AFTER / 2) == []
    assert crowds.look({5: Load(100)}, 1.0 + EASED_AFTER) == [5]

    assert not crowds
    assert crowds.stop(5), "its next backlog is news"


def test_a_crowd_that_is_stopped_again_is_no_news() -> None:
    crowds = crowds_of(12)

    assert crowds.stop(5)
    crowds.look({}, 1.0)
    assert not crowds.stop(5)


def test_a_partition_that_went_is_forgotten() -> None:
    crowds = crowds_of(12)
    crowds.stop(5)
    crowds.stop(6)

    crowds.forget([5, 7])

    assert crowds.stopped == {6}
