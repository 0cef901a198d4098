"""When a place that does not move counts as held up by a transaction."""

from __future__ import annotations

from taskq_kafka.heldwatch import HeldWatch


def watch() -> HeldWatch:
    return HeldWatch(patience=30.0, every=5.0)


def test_it_looks_now_and_then_and_not_at_the_begin() -> None:
    held = watch()

    assert [held.is_due(now) for now in (100.0, 104.9, 105.0, 106.0, 110.0)] == [
        False,
        False,
        True,
        False,
        True,
    ]


def test_a_place_that_has_not_moved_for_long_is_suspect() -> None:
    held = watch()

    assert held.suspects({3: 17, 4: 9}, 100.0) == {}
    assert held.suspects({3: 17, 4: 10}, 130.0) == {3: 17}


def test_a_place_that_came_to_the_end_in_between_begins_anew() -> None:
    held = watch()

    held.suspects({3: 17}, 100.0)
    held.suspects({}, 120.0)

    assert held.suspects({3: 17}, 130.0) == {}


def test_only_a_place_where_committed_readers_end_before_the_end_is_held_up() -> None:
    held = watch()

    found = held.held({1: 5, 2: 5, 3: 5, 4: 5}, {1: 5, 2: 9, 3: 5}, {1: 9, 2: 9, 3: 5, 4: 9})

    assert found == [(1, 5)]


def test_a_transaction_is_told_once_and_the_next_one_again() -> None:
    held = watch()
    held.suspects({3: 17}, 100.0)
    assert held.held(held.suspects({3: 17}, 130.0), {3: 17}, {3: 20}) == [(3, 17)]

    again = held.suspects({3: 17}, 200.0)
    held.suspects({3: 40}, 300.0)
    later = held.suspects({3: 40}, 330.0)

    assert again == {}
    assert later == {3: 40}
