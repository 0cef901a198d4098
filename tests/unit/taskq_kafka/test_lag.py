"""How much of a partition waits."""

from __future__ import annotations

import pytest

from taskq_kafka.lag import standing, waiting
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


OUT_OF_ORDER = State(5, unfinished=(5, 7), settled_end=9).metadata()


@pytest.mark.parametrize(
    ("offset", "committed", "metadata", "stands"),
    [
        (4, 5, None, (True, 0)),
        (5, 5, None, (False, 0)),
        (8, 5, None, (False, 3)),
        (6, 5, OUT_OF_ORDER, (True, 0)),
        (7, 5, OUT_OF_ORDER, (False, 1)),
        (10, 5, OUT_OF_ORDER, (False, 3)),
        (10, 5, "tq9:from the future", (False, 5)),
        (3, -1, None, (False, 1)),
        (10, 1, None, (False, 8)),
    ],
)
def test_record_stands_claimed_or_behind_what_is_unclaimed(
    offset: int, committed: int, metadata: str | None, stands: tuple[bool, int]
) -> None:
    assert standing(offset, low=2, committed=committed, metadata=metadata) == stands
