"""How much of a partition waits."""

from __future__ import annotations

from taskq_kafka.lag import waiting
from taskq_kafka.offsets import State


def test_group_without_an_offset_begins_at_the_first_record() -> None:
    assert waiting(low=5, end=9, committed=-1001, metadata=None) == (4, 5)


def test_what_was_deleted_does_not_wait() -> None:
    assert waiting(low=5, end=9, committed=2, metadata="") == (4, 5)


def test_committed_records_do_not_wait() -> None:
    assert waiting(low=0, end=9, committed=9, metadata="") == (0, 9)


def test_what_is_settled_out_of_order_does_not_wait() -> None:
    state = State(10, unfinished=(10, 12), settled_end=20)

    count, first = waiting(low=0, end=25, committed=10, metadata=state.metadata())

    assert (count, first) == (5 + 2, 10)


def test_text_of_a_newer_version_says_nothing() -> None:
    assert waiting(low=0, end=9, committed=4, metadata="tq9:xyz") == (5, 4)
