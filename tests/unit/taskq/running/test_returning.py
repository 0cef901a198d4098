"""The record with which a task comes back: what stays, what changes, and that a reader finds it right."""

from __future__ import annotations

import json
from typing import Any

import pytest

from taskq.attempts import Attempt, read_attempts
from taskq.message import Envelope, read_body, read_headers
from taskq.protocols import HeaderList, Outgoing
from taskq.running.returning import requeued, requeues, retried
from taskq.timing.shards import Write
from taskq.timing.timers import read_due
from tests.support.pools import PlainRecord, record_of

ATTEMPT = Attempt("2026-11-23T17:00:00.000Z", "ValueError: no", "w1")
DUE = 1_795_453_200_000


def retry_of(record: PlainRecord, due_ms: int = 0) -> Outgoing:
    found = retried(record, read_headers(record), due_ms=due_ms, attempt=ATTEMPT)
    assert isinstance(found, Outgoing)
    return found


def seen(message: Outgoing) -> tuple[Envelope, Any]:
    record = PlainRecord(value=message.value, headers=message.headers)
    envelope = read_headers(record)
    return envelope, read_body(envelope, message.value)


def test_a_retry_is_the_same_task_with_one_more_retry() -> None:
    record = record_of(
        "a", 1, id="7", key=b"k", extra={"tenant": "x", "expires": "2099-01-01T00:00:00Z"}
    )

    message = retry_of(record)

    envelope, body = seen(message)
    assert (message.queue, message.key, message.value) == ("q", b"k", record.value)
    assert (envelope.task, envelope.id, envelope.retries) == ("a", "7", 1)
    assert (envelope.eta, envelope.expires is not None) == (None, True)
    assert envelope.headers["tenant"] == "x"
    assert body[0] == [1]


def test_attempts_add_up() -> None:
    first = retry_of(record_of("a"))

    second = retry_of(PlainRecord(value=first.value, headers=first.headers))

    envelope, _ = seen(second)
    assert envelope.retries == 2
    assert read_attempts(envelope.headers["taskq-attempts"]).last == (ATTEMPT, ATTEMPT)
    assert [name for name, _ in second.headers].count("taskq-attempts") == 1


def test_a_retry_that_waits_is_a_timer_with_its_eta_and_written_twice_it_is_one() -> None:
    record = record_of("a", id="7", partition=3, offset=12)

    first, second = (
        retried(record, read_headers(record), due_ms=DUE, attempt=ATTEMPT) for _ in range(2)
    )

    assert isinstance(first, Write)
    assert isinstance(second, Write)
    assert (first.route, first.key, first.queue) == (b"7", b"7/q-3-12", "q")
    assert first.key == second.key
    assert read_due(first.headers) == DUE
    assert dict(first.headers)["eta"] == b"2026-11-23T17:00:00+00:00"


def test_what_has_waited_before_is_not_taken_for_what_has_waited_again() -> None:
    record = record_of("a", extra={"eta": "2001-01-01T00:00:00Z", "taskq-fired": "978307200000"})

    names = {name for name, _ in retry_of(record).headers}

    assert not names & {"eta", "taskq-fired"}


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"retries": 4},
        {"retries": 4, "flags": [True, None]},
        {"flags": [1], "shadow": ""},
        {"retries": 4, "timelimit": [None, 3], "tenant": "x", "root_id": "r"},
    ],
)
def test_headers_keep_their_types(extra: dict[str, Any]) -> None:
    record = record_of("a", extra=extra)
    before = read_headers(record)

    after, _ = seen(retry_of(record))

    assert after.retries == before.retries + 1
    assert type(after.headers["retries"]) is int
    kept = {name: value for name, value in before.headers.items() if name != "retries"}
    assert kept.items() <= after.headers.items()


def test_a_client_of_another_language_has_no_list_of_types() -> None:
    headers: HeaderList = [("task", b"a"), ("id", b"7"), ("retries", b"2"), ("root_id", b"")]
    record = PlainRecord(value=b"[[], {}, null]", headers=headers)

    envelope, _ = seen(retry_of(record))

    assert (envelope.retries, envelope.headers["root_id"]) == (3, None)


def test_a_record_without_headers_becomes_one_of_the_protocol() -> None:
    value = json.dumps({"task": "a", "args": [1], "kwargs": {"b": 2}}).encode()
    foreign: HeaderList = [
        ("traceparent", b"00-1"),
        ("content-type", b"x/y"),
        ("eta", b"x"),
        ("n", None),
    ]
    record = PlainRecord(value=value, headers=foreign, partition=3, offset=12)

    envelope, body = seen(retry_of(record))

    assert (envelope.task, envelope.id, envelope.retries) == ("a", "q/3/12", 1)
    assert body[:2] == ([1], {"b": 2})
    assert envelope.headers["traceparent"] == "00-1"


def test_what_puts_itself_back_keeps_retries_and_eta() -> None:
    extra = {"retries": 2, "eta": "2099-01-01T00:00:00Z", "taskq-fired": "1"}
    record = record_of("a", extra=extra)

    found = requeued(record, read_headers(record), due_ms=0)

    assert isinstance(found, Outgoing)
    envelope, _ = seen(found)
    assert (envelope.retries, requeues(envelope.headers)) == (2, 1)
    assert envelope.eta is not None
    again = requeued(PlainRecord(value=found.value, headers=found.headers), envelope, due_ms=DUE)
    assert isinstance(again, Write)
    assert dict(again.headers)["taskq-requeued"] == b"2"


@pytest.mark.parametrize("value", [None, "", "-1", "x", "٣", 3, "9" * 5000])
def test_nonsense_in_the_count_counts_as_nothing(value: Any) -> None:
    assert requeues({"taskq-requeued": value}) == 0
