from __future__ import annotations

from datetime import datetime, timedelta, timezone

from taskq.attempts import HEADER as ATTEMPTS
from taskq.attempts import Attempt, read_attempts
from taskq.message import read_headers
from taskq.protocols import Outgoing
from taskq.running.inplace import handed_on, requeued_in_place, retried_in_place, without_hold
from taskq.running.keyhold import HEADER, held_since_ms
from taskq.timing.shards import Write
from taskq.timing.timers import due_ms, message_of
from tests.support.pools import record_of

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


def attempt(number: int) -> Attempt:
    return Attempt("2026-01-01T00:00:00Z", f"E: {number}", "w")


def test_a_retry_in_place_keeps_its_place_and_counts_on() -> None:
    record = record_of("a", 3, key=b"k", partition=2, deliveries=1)

    once = retried_in_place(record, read_headers(record), attempt=attempt(1), now=NOW)
    later = NOW + timedelta(seconds=5)
    twice = retried_in_place(once, read_headers(once), attempt=attempt(2), now=later)

    headers = read_headers(twice)
    assert (headers.id, headers.retries, twice.value) == (f"a-{record.offset}", 2, record.value)
    assert (twice.partition, twice.offset, twice.key) == (2, record.offset, b"k")
    assert (twice.delivery_tag, twice.deliveries) == (record.delivery_tag, 1)
    assert len(read_attempts(headers.headers[ATTEMPTS]).last) == 2
    assert held_since_ms(headers.headers, later) == due_ms(NOW)


def test_what_put_itself_back_in_place_was_delivered_before() -> None:
    record = record_of("a", key=b"k")

    again = requeued_in_place(record, read_headers(record), now=NOW)

    assert read_headers(again).headers["taskq-requeued"] == "1"
    assert read_headers(again).retries == 0


def test_what_is_written_of_it_does_not_tell_of_the_hold() -> None:
    record = record_of("a", key=b"k")
    again = retried_in_place(record, read_headers(record), attempt=attempt(1), now=NOW)

    later = handed_on(again, read_headers(again), due_ms=due_ms(NOW))
    at_once = handed_on(again, read_headers(again), due_ms=0)

    assert isinstance(later, Write)
    assert isinstance(at_once, Outgoing)
    waiting = message_of(later)
    assert waiting is not None
    assert (waiting.key, at_once.key) == (b"k", b"k")
    for written in (waiting.headers, at_once.headers, without_hold(again).headers):
        names = [name for name, _ in written]
        assert HEADER not in names
        assert names.count("retries") == 1
    assert without_hold(record) is record
