from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import taskq
from taskq.message import encode, read_headers
from taskq.request import Request, enter, leave
from taskq_kafka.records import Record


def request(**headers: Any) -> Request:
    value, written = encode("old.name", "id-1", (), {}, headers=headers)
    record = Record("billing", 3, 17, -1, None, value, written, redelivered=True)
    return Request(
        read_headers(record),
        task="name",
        queue=record.queue,
        partition=record.partition,
        offset=record.offset,
        group="taskq",
        redelivered=record.redelivered,
    )


def test_it_tells_where_the_message_came_from() -> None:
    found = request(retries=2, tenant="x")

    assert (found.id, found.task, found.retries, found.redelivered) == ("id-1", "name", 2, True)
    assert (found.queue, found.partition, found.offset, found.group) == ("billing", 3, 17, "taskq")
    assert found.headers["tenant"] == "x"
    assert found.headers["task"] == "old.name"
    assert found.eta is None


def test_the_planned_instant_of_an_occurrence_is_an_instant() -> None:
    expected = datetime(2026, 11, 23, 17, tzinfo=timezone.utc)

    assert request(scheduled_for="2026-11-23T17:00:00Z").scheduled_for == expected
    assert request().scheduled_for is None
    assert request(scheduled_for="soon").scheduled_for is None
    assert request(scheduled_for=3).scheduled_for is None


def test_the_current_request_is_there_during_the_run_alone() -> None:
    found = request()

    token = enter(found)
    during = taskq.current_request()
    leave(token)

    assert during is found
    assert taskq.current_request() is None
