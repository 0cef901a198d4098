from __future__ import annotations

import taskq
from taskq.attempts import NONE, Attempt, read_attempts, write_attempts
from taskq.message import read_headers
from taskq.worker.deadletters import dead_letter
from tests.support.clock import START
from tests.support.pools import PlainRecord, record_of


def test_a_failed_run_says_what_where_and_how_often() -> None:
    record = record_of("invoice", id="abc", extra={"retries": 2})

    letter = dead_letter(
        record,
        read_headers(record),
        reason="failed",
        error="ValueError: no",
        traceback="Traceback …",
        has_run=True,
        worker="w1",
        now=START,
    )

    assert letter.record is record
    assert letter.headers == [
        ("dlq-id", b"abc"),
        ("dlq-task", b"invoice"),
        ("dlq-reason", b"failed"),
        ("dlq-error", b"ValueError: no"),
        ("dlq-traceback", "Traceback …".encode()),
        ("dlq-attempts", b"3"),
        ("dlq-first-failed", b"2026-11-23T17:00:00.000Z"),
        ("dlq-failed", b"2026-11-23T17:00:00.000Z"),
        ("dlq-worker", b"w1"),
        ("dlq-worker-version", taskq.__version__.encode()),
        ("dlq-version", b"1"),
    ]


def test_an_unreadable_record_has_no_id_and_no_attempt() -> None:
    letter = dead_letter(
        PlainRecord(),
        None,
        reason="unreadable",
        error="bad \udcff text",
        has_run=False,
        worker="w1",
        now=START,
    )

    headers = dict(letter.headers)
    assert "dlq-id" not in headers
    assert headers["dlq-attempts"] == b"0"
    assert headers["dlq-error"] == b"bad \\udcff text"


def test_after_retries_it_says_when_the_first_attempt_failed() -> None:
    before = NONE.with_one(Attempt("2026-11-23T16:00:00.000Z", "OSError: away", "w0"))
    extra = {"retries": 1, "taskq-attempts": write_attempts(before).decode()}
    record = record_of("invoice", extra=extra)

    letter = dead_letter(
        record,
        read_headers(record),
        reason="retries_exhausted",
        error="OSError: away",
        has_run=True,
        worker="w1",
        now=START,
    )

    headers = dict(letter.headers)
    assert headers["dlq-first-failed"] == b"2026-11-23T16:00:00.000Z"
    assert headers["dlq-failed"] == b"2026-11-23T17:00:00.000Z"
    assert headers["dlq-attempts"] == b"2"


def test_deaths_before_are_told_and_deliveries_counted() -> None:
    died = Attempt("2026-11-23T16:00:00.000Z", "it was killed", "w0")
    record = record_of("invoice", deliveries=3)

    letter = dead_letter(
        record,
        read_headers(record),
        reason="worker_died",
        error="it was killed",
        has_run=True,
        worker="w0",
        now=START,
        deaths=NONE.with_one(died),
    )

    headers = dict(letter.headers)
    assert headers["dlq-attempts"] == b"4"
    assert headers["dlq-deliveries"] == b"3"
    assert headers["dlq-first-failed"] == b"2026-11-23T16:00:00.000Z"
    assert read_attempts(headers["dlq-deaths"].decode()).last == (died,)


def test_attempts_that_are_told_are_counted_though_they_were_no_retries() -> None:
    attempt = Attempt("2026-11-23T16:00:00.000Z", "it was killed", "w0")
    extra = {
        "retries": 1,
        "taskq-attempts": write_attempts(NONE.with_all([attempt] * 3)).decode(),
    }
    record = record_of("invoice", extra=extra)

    letter = dead_letter(
        record,
        read_headers(record),
        reason="failed",
        error="ValueError: no",
        has_run=True,
        worker="w1",
        now=START,
    )

    assert dict(letter.headers)["dlq-attempts"] == b"4"
