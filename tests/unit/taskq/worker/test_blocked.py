from __future__ import annotations

import logging

import pytest

from taskq.worker.blocked import BlockedPartitions
from taskq.worker.delivery import Delivery
from tests.support.pools import delivery_of


def nothing(partition: int, offset: int) -> Delivery | None:
    return None


def events(caplog: pytest.LogCaptureFixture) -> list[tuple[str, int]]:
    return [
        (getattr(record, "event", ""), getattr(record, "partition", -1))
        for record in caplog.records
    ]


def test_each_partition_is_said_once_when_it_stands_still_and_when_it_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    blocked = BlockedPartitions("q")

    for state in ({}, {3: 7}, {3: 7}, {3: 7, 4: 1}, {4: 1}, {}, {}):
        blocked.look(state, nothing)

    assert events(caplog) == [
        ("intake.partition_blocked", 3),
        ("intake.partition_blocked", 4),
        ("intake.partition_freed", 3),
        ("intake.partition_freed", 4),
    ]


def test_the_task_that_is_waited_for_is_named(caplog: pytest.LogCaptureFixture) -> None:
    stuck = delivery_of("a", id="stuck", partition=3, offset=7)

    BlockedPartitions("q").look({3: 7}, lambda partition, offset: stuck)

    [said] = caplog.records
    assert "a[stuck]" in said.getMessage()
    assert getattr(said, "id", "") == "stuck"


def test_the_place_is_named_where_the_task_is_not_known(caplog: pytest.LogCaptureFixture) -> None:
    BlockedPartitions("q").look({3: 7}, nothing)

    assert "the record q/3/7" in caplog.records[0].getMessage()
