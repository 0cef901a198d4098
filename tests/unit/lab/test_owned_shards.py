"""Which shards a beat owns, by what it has printed."""

from __future__ import annotations

from tests.scenarios.lab.beats import owned_shards

OWNS = "12:00:00 INFO taskq.schedules: this process owns the partitions 0, 1, 12\n"


def test_beat_owns_what_it_said_last() -> None:
    assert owned_shards("taskq.schedules: this process owns the partitions 7\n" + OWNS) == {
        0,
        1,
        12,
    }


def test_released_and_lost_shards_are_owned_no_more() -> None:
    released = "INFO taskq.schedules: released the partitions 1\n"
    lost = "WARNING taskq.schedules: lost the partitions 0, 12\n"

    assert owned_shards(OWNS + released) == {0, 12}
    assert owned_shards(OWNS + released + lost) == set()


def test_shards_of_waiting_tasks_do_not_count() -> None:
    assert owned_shards("INFO taskq.timers: this process owns the partitions 3\n") == set()
