"""A waiting task on the wire: what comes back, and what is refused. A stored record of format 1 must stay readable."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq.errors import DecodeError
from taskq.message import encode, read_headers
from taskq.protocols import Outgoing
from taskq.timing.timers import (
    LATEST_MS,
    LOG,
    NewerTimer,
    cancel_write,
    check_cancel,
    due_ms,
    instant_of,
    is_cancel,
    letter,
    new_unique,
    read_due,
    read_timer,
    split_key,
    timer_write,
)
from taskq_kafka.records import Record
from tests.support.logrecords import StoredRecord, stored

ETA = datetime(2026, 11, 23, 17, 0, 0, 1, tzinfo=timezone.utc)

HEADERS_OF_FORMAT_1 = [
    ("task", b"add"),
    ("id", b"a/b"),
    ("timer-format", b"1"),
    ("timer-due", b"1795453200001"),
    ("timer-queue", b"billing"),
    ("timer-key", b"\xff"),
]


def record(headers: Any, key: bytes = b"a/b/0123abcd", value: bytes = b"v") -> StoredRecord:
    return StoredRecord(3, 7, 0, key, value, headers)


def waiting(message: Outgoing, due: int = 1000) -> StoredRecord:
    return stored(timer_write(message, task_id="a/b", due_ms=due))


@given(
    st.lists(st.tuples(st.text(max_size=12), st.binary(max_size=9)), max_size=4),
    st.none() | st.binary(max_size=9),
    st.integers(0, LATEST_MS),
)
def test_a_task_comes_back_byte_for_byte(headers: Any, key: bytes | None, due: int) -> None:
    headers = [("timer-due", b"the task's own"), ("timer-format", b"9"), *headers]
    headers = [header for header in headers if header[0] != "taskq-fired"]

    timer = read_timer(waiting(Outgoing("billing", b"\xff", headers, key), due))

    assert timer.message == Outgoing("billing", b"\xff", headers, key)
    assert (timer.task_id, timer.due_ms) == ("a/b", due)


def test_a_stored_record_of_format_1_is_read() -> None:
    timer = read_timer(record(HEADERS_OF_FORMAT_1))

    headers = [("task", b"add"), ("id", b"a/b")]
    assert timer.message == Outgoing("billing", b"v", headers, b"\xff")
    assert (timer.task_id, timer.task, timer.due_ms) == ("a/b", "add", 1795453200001)


def test_a_stored_cancel_record_of_format_1_is_followed() -> None:
    check_cancel(b'{"format": 1, "at": "2026-11-23T17:00:00.000001Z"}')


def test_all_records_of_a_task_have_its_id_as_route_and_keys_of_their_own() -> None:
    first, second = (timer_write(Outgoing("q", b"", ()), task_id="a/b", due_ms=1) for _ in "12")
    cancel = cancel_write("a/b", ETA)

    assert {first.route, second.route, cancel.route} == {b"a/b"}
    assert len({first.key, second.key, cancel.key}) == 3
    assert first.queue == "q"
    assert is_cancel(cancel.key)
    assert not is_cancel(first.key)
    assert cancel.value == b'{"format": 1, "at": "2026-11-23T17:00:00.000001Z"}'


def test_an_id_may_have_slashes() -> None:
    assert split_key(b"jobs/a@x/0123abcd") == (b"jobs/a@x", b"0123abcd")
    assert split_key(b"none") == (b"", b"none")


def test_uniques_have_no_slash_and_are_not_cancel() -> None:
    assert all(len(new_unique()) == 8 for _ in range(20))


@pytest.mark.parametrize(("microseconds", "expected"), [(0, 0), (1, 1), (999, 1), (1000, 1)])
def test_an_instant_is_rounded_up(microseconds: int, expected: int) -> None:
    epoch = datetime(1970, 1, 1, tzinfo=timezone.utc)

    assert due_ms(epoch + timedelta(microseconds=microseconds)) == expected


@given(
    st.datetimes(
        max_value=instant_of(LATEST_MS).replace(tzinfo=None), timezones=st.just(timezone.utc)
    )
)
def test_no_instant_is_due_early(instant: datetime) -> None:
    due = datetime(1970, 1, 1, tzinfo=timezone.utc)

    assert (instant - due) / timedelta(milliseconds=1) <= due_ms(instant)


@pytest.mark.parametrize("microseconds", [999_000, 999_001, 999_999])
def test_the_end_of_the_calendar_can_be_read_again(microseconds: int) -> None:
    eta = datetime.max.replace(microsecond=microseconds, tzinfo=timezone.utc)
    message = Outgoing("q", b"", ())

    write = timer_write(message, task_id="a", due_ms=due_ms(eta))

    assert read_due(write.headers) == LATEST_MS


def test_a_fired_record_runs_where_the_clock_is_behind() -> None:
    eta = {"eta": ETA.isoformat()}
    value, headers = encode("add", "a/b", [], {}, headers=eta)
    fired = read_timer(waiting(Outgoing("q", value, headers))).fired(1000)

    envelope = read_headers(Record("q", 0, 0, 0, None, fired.value, fired.headers))

    assert envelope.eta == ETA
    assert not envelope.is_early(ETA - timedelta(days=1))
    assert fired.headers[-1] == ("taskq-fired", b"1000")


def test_what_waits_again_has_not_fired() -> None:
    fired = read_timer(waiting(Outgoing("q", b"", [("task", b"add")]))).fired(1000)

    again = waiting(fired)

    assert read_timer(again).message.headers == [("task", b"add")]


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ([], b"a/1"),
        ([("timer-format", b"")], b"a/1"),
        ([("timer-format", b"0"), ("timer-due", b"1"), ("timer-queue", b"q")], b"a/1"),
        ([("timer-format", b"1"), ("timer-queue", b"q")], b"a/1"),
        ([("timer-format", b"1"), ("timer-due", b"-1"), ("timer-queue", b"q")], b"a/1"),
        ([("timer-format", b"1"), ("timer-due", b"9" * 15), ("timer-queue", b"q")], b"a/1"),
        ([("timer-format", b"1"), ("timer-due", None), ("timer-queue", b"q")], b"a/1"),
        ([("timer-format", b"1"), ("timer-due", b"1")], b"a/1"),
        ([("timer-format", b"1"), ("timer-due", b"1"), ("timer-queue", b"q/")], b"a/1"),
        ([("timer-format", b"1"), ("timer-due", b"1"), ("timer-queue", b"\xff")], b"a/1"),
        ([("timer-format", b"1"), ("timer-due", b"1"), ("timer-queue", b"q")], b"a"),
        ([("timer-format", b"1"), ("timer-due", b"1"), ("timer-queue", b"q")], b"a/"),
        ([("timer-format", b"1"), ("timer-due", b"1"), ("timer-queue", b"q")], b"\xff/1"),
    ],
)
def test_what_is_no_timer_is_unreadable(headers: Any, key: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        read_timer(record(headers, key))

    assert caught.value.reason == "unreadable"


def test_newer_formats_are_told_from_unreadable_ones() -> None:
    with pytest.raises(NewerTimer):
        read_due([("timer-format", b"2")])
    with pytest.raises(NewerTimer):
        check_cancel(b'{"format": 2}')


@pytest.mark.parametrize("value", [b"", b"\xff", b"[]", b"{}", b'{"format": "2"}'])
def test_of_a_cancel_record_only_a_newer_format_is_refused(value: bytes) -> None:
    check_cancel(value)


def test_a_letter_has_the_record_and_says_why() -> None:
    source = record(HEADERS_OF_FORMAT_1)

    written = letter(source, reason="unreadable", error="no such thing", now_ms=0)

    assert written.key == f"{LOG}/3/7".encode()
    assert written.value == b"v"
    assert written.headers == [
        *HEADERS_OF_FORMAT_1,
        ("dlq-id", b"a/b"),
        ("dlq-task", b"add"),
        ("dlq-reason", b"unreadable"),
        ("dlq-error", b"no such thing"),
        ("dlq-failed", b"1970-01-01T00:00:00.000Z"),
        ("dlq-source-key", b"a/b/0123abcd"),
    ]
