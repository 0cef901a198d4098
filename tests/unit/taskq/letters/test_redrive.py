"""What goes back to a queue, byte for byte, and what is left."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone

import pytest

from taskq.letters.deadletters import read_dead_letter
from taskq.letters.redrive import MOST_REDRIVES, Chosen, Left, Order, counts
from taskq.message import read_headers
from taskq.protocols import HeaderList, Outgoing, Removal, ReturnedRecord, StoredDeadLetter
from taskq.timing.timers import timer_write
from taskq_kafka.records import Record

NOW = datetime(2026, 11, 26, 9, tzinfo=timezone.utc)
ORDER = Order("me@here", NOW, "mended", to="billing")
WHY = (
    ("dlq-id", b"id-1"),
    ("dlq-task", b"invoice"),
    ("dlq-reason", b"failed"),
    ("dlq-version", b"1"),
)


def chosen(
    *headers: tuple[str, bytes | None], value: bytes | None = b"[]", why: HeaderList = WHY
) -> Chosen:
    letter = StoredDeadLetter("billing/3/17", "billing", value, (*headers, *why), 1_000, 5)
    return Chosen(letter, read_dead_letter(letter))


def returned(removal: Removal) -> ReturnedRecord:
    assert removal.record is not None
    return removal.record


def test_a_record_goes_back_as_it_was_with_its_attempts_counted_anew() -> None:
    own = [("task", b"\xff\xfe"), ("task", b"twice"), ("null", None), ("retries", b"2")]
    letter = chosen(*own, value=b"\x80\x81", why=(*WHY, ("dlq-source-key", b"\x00key")))

    record = returned(letter.removal(ORDER))

    assert (record.queue, record.value, record.key) == ("billing", b"\x80\x81", b"\x00key")
    assert record.headers == [
        ("task", b"\xff\xfe"),
        ("task", b"twice"),
        ("null", None),
        ("redriven", b"1"),
        ("redriven-from", b"billing/3/17"),
    ]


def test_a_record_without_key_or_value_has_none_again() -> None:
    letter = chosen(value=b"", why=(*WHY, ("dlq-null-value", b"true")))

    record = returned(letter.removal(ORDER))

    assert (record.value, record.key) == (None, None)


def test_an_empty_value_and_an_empty_key_stay_empty() -> None:
    record = returned(chosen(value=b"", why=(*WHY, ("dlq-source-key", b""))).removal(ORDER))

    assert (record.value, record.key) == (b"", b"")


def test_it_is_counted_how_often_a_record_went_back() -> None:
    again = chosen(("redriven", b"3"), ("redriven-from", b"billing/0/1"))

    headers = returned(again.removal(ORDER)).headers

    assert list(headers) == [("redriven", b"4"), ("redriven-from", b"billing/3/17")]


def test_a_worker_reads_what_went_back_as_a_first_attempt() -> None:
    own = [
        ("task", b"invoice"),
        ("id", b"id-1"),
        ("retries", b"3"),
        ("timelimit", b"[null, 5]"),
        ("taskq-attempts", b"{}"),
        ("taskq-requeued", b"2"),
        ("kombu-json", b"retries,timelimit"),
    ]

    back = returned(chosen(*own).removal(ORDER))
    envelope = read_headers(Record("billing", 0, 0, 0, back.key, back.value, back.headers))

    assert (envelope.task, envelope.id, envelope.retries) == ("invoice", "id-1", 0)
    assert envelope.headers["timelimit"] == [None, 5]
    assert envelope.headers["redriven"] == "1"
    assert not {"taskq-attempts", "taskq-requeued"} & envelope.headers.keys()


def test_a_tombstone_tells_who_did_what_and_why() -> None:
    assert chosen().removal(ORDER).note == [
        ("dlq-action", b"redriven"),
        ("dlq-by", b"me@here"),
        ("dlq-at", b"2026-11-26T09:00:00.000Z"),
        ("dlq-note", b"mended"),
        ("dlq-id", b"id-1"),
        ("dlq-task", b"invoice"),
        ("dlq-reason", b"failed"),
    ]


def test_a_tombstone_of_another_queue_names_it() -> None:
    note = chosen().removal(Order("me@here", NOW, to="invoices")).note

    assert ("dlq-to", b"invoices") in note


def test_what_is_discarded_has_a_tombstone_alone() -> None:
    removal = chosen().removal(Order("me@here", NOW))

    assert removal.record is None
    assert ("dlq-action", b"discarded") in removal.note


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (("redriven", str(MOST_REDRIVES - 1).encode()), None),
        (("redriven", str(MOST_REDRIVES).encode()), Left.OFTEN),
        (("expires", b"2026-11-26T08:59:59+00:00"), Left.EXPIRED),
        (("expires", b"2026-11-26T08:59:59"), Left.EXPIRED),
        (("expires", b"2026-11-26T09:00:01Z"), None),
        (("expires", b"soon"), None),
    ],
)
def test_what_would_come_back_or_be_dropped_is_left(
    header: tuple[str, bytes], why: Left | None
) -> None:
    letter = chosen(header)

    assert letter.why_left(ORDER) is why
    assert letter.why_left(Order("me@here", NOW, to="billing", is_forced=True)) is None
    assert letter.why_left(Order("me@here", NOW)) is None


def test_a_newer_format_is_left_whatever_is_wanted() -> None:
    newer = chosen(why=(("dlq-version", b"2"),))

    assert newer.why_left(Order("me@here", NOW, to="billing", is_forced=True)) is Left.NEWER
    assert newer.why_left(Order("me@here", NOW)) is Left.NEWER


def test_letters_are_counted_by_queue_task_and_reason() -> None:
    other = chosen(why=(("dlq-reason", b"unreadable"),))

    rows = counts(each.view for each in (other, chosen(), chosen()))

    assert rows == [("billing", "invoice", "failed", 2), ("billing", None, "unreadable", 1)]


# What could not be sent when its time had come

TO_ITS_QUEUE = replace(ORDER, to="taskq.timers")
WAITED = timer_write(
    Outgoing("mails", b"[]", [("task", b"remind"), ("retries", b"2")], b"customer-7"),
    task_id="id-1",
    due_ms=1_000,
)


def of_timers(
    *headers: tuple[str, bytes], value: bytes = b"[]", source_key: bytes = WAITED.key
) -> Chosen:
    why = (*WHY, ("dlq-source-key", source_key))
    letter = StoredDeadLetter("taskq.timers/3/17", "taskq.timers", value, (*headers, *why), 1, 5)
    return Chosen(letter, read_dead_letter(letter))


def test_a_task_that_waited_goes_to_its_queue_as_if_its_time_came_now() -> None:
    chosen = of_timers(*WAITED.headers)

    removal = chosen.removal(TO_ITS_QUEUE)

    record = returned(removal)
    assert chosen.why_left(TO_ITS_QUEUE) is None
    assert (record.queue, record.value, record.key) == ("mails", b"[]", b"customer-7")
    assert record.headers == [
        ("task", b"remind"),
        ("retries", b"2"),
        ("taskq-fired", str(int(NOW.timestamp() * 1000)).encode()),
        ("redriven", b"1"),
        ("redriven-from", b"taskq.timers/3/17"),
    ]
    assert ("dlq-to", b"mails") in removal.note


def test_an_occurrence_goes_to_the_queue_that_its_letter_names() -> None:
    own = (("task", b"report"), ("id", b"n/a@2026"))
    chosen = of_timers(*own, ("dlq-queue", b"reports"), source_key=b"k")

    record = returned(chosen.removal(TO_ITS_QUEUE))

    assert (record.queue, record.key, record.headers[:2]) == ("reports", b"k", list(own))


def test_what_waited_goes_to_another_queue_where_that_is_wanted() -> None:
    assert returned(of_timers(*WAITED.headers).removal(ORDER)).queue == "billing"


@pytest.mark.parametrize(
    "letter",
    [
        of_timers(("task", b"remind")),
        of_timers(("timer-format", b"1"), ("timer-due", b"soon"), ("timer-queue", b"mails")),
        of_timers(*WAITED.headers, source_key=b"no key of ours"),
        of_timers(("dlq-queue", b"reports"), value=b"{}"),
        of_timers(("task", b"report"), ("dlq-queue", b"no queue")),
        of_timers(("task", b"report"), ("dlq-queue", b"\xff")),
    ],
)
def test_what_waited_and_is_no_task_can_only_be_discarded(letter: Chosen) -> None:
    assert letter.why_left(TO_ITS_QUEUE) is Left.NO_TASK
    assert letter.why_left(replace(TO_ITS_QUEUE, is_forced=True)) is Left.NO_TASK
    assert letter.why_left(Order("me@here", NOW)) is None
