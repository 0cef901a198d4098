from __future__ import annotations

from datetime import datetime, timezone

import pytest

from taskq.attempts import NONE, Attempt, write_attempts
from taskq.letters.deadletters import read_dead_letter, source_queue
from taskq.protocols import StoredDeadLetter

LETTER = StoredDeadLetter(
    "billing/3/17",
    "billing",
    b"[[], {}, {}]",
    (
        ("task", b"invoice"),
        ("odd", b"\xff"),
        ("dlq-id", b"id-1"),
        ("dlq-task", b"invoice"),
        ("dlq-reason", b"failed"),
        ("dlq-error", b"ValueError: no"),
        ("dlq-attempts", b"2"),
        ("dlq-failed", b"2026-11-23T17:00:00Z"),
        ("dlq-traceback", b"Traceback ..."),
        ("dlq-worker", b"here"),
    ),
)


def test_its_headers_say_what_happened() -> None:
    view = read_dead_letter(LETTER)

    assert (view.id, view.task, view.queue, view.source) == (
        "id-1",
        "invoice",
        "billing",
        "billing/3/17",
    )
    assert (view.reason, view.error, view.attempts) == ("failed", "ValueError: no", 2)
    assert (view.failed_at, view.traceback) == ("2026-11-23T17:00:00Z", "Traceback ...")
    assert view.details["worker"] == "here"
    assert view.headers == {"task": "invoice", "odd": "\\xff"}


def test_a_letter_of_the_first_format_is_read_and_an_older_one_without_version_too() -> None:
    stored = StoredDeadLetter("q/0/0", "q", b"[]", (("task", b"t"), ("dlq-version", b"1")))

    assert not read_dead_letter(stored).is_newer
    assert not read_dead_letter(LETTER).is_newer


@pytest.mark.parametrize(("version", "is_newer"), [(b"2", True), (b"x", False), (b"", False)])
def test_a_newer_format_is_told(version: bytes, is_newer: bool) -> None:
    stored = StoredDeadLetter("q/0/0", "q", b"[]", (("dlq-version", version),))

    assert read_dead_letter(stored).is_newer is is_newer


@pytest.mark.parametrize(("count", "redriven"), [(b"3", 3), (b"-1", 0), ("²".encode(), 0)])
def test_how_often_it_was_sent_back_is_told(count: bytes, redriven: int) -> None:
    stored = StoredDeadLetter("q/0/0", "q", b"[]", (("redriven", count),))

    assert read_dead_letter(stored).redriven == redriven


def test_its_moment_is_what_its_writer_says_or_else_its_timestamp() -> None:
    written = StoredDeadLetter("q/0/0", "q", b"[]", (), 1_000)

    assert read_dead_letter(LETTER).moment == datetime(2026, 11, 23, 17, tzinfo=timezone.utc)
    assert read_dead_letter(written).moment == datetime(1970, 1, 1, 0, 0, 1, tzinfo=timezone.utc)
    assert read_dead_letter(StoredDeadLetter("q/0/0", "q", b"[]")).moment is None


def test_one_that_cannot_be_read_is_named_by_its_source() -> None:
    view = read_dead_letter(StoredDeadLetter("billing/3/17", "billing", b"\xff"))

    assert (view.id, view.task, view.attempts, view.value) == ("billing/3/17", None, None, b"\xff")


def test_a_source_without_value_had_none() -> None:
    letter = StoredDeadLetter("q/0/0", "q", b"", (("dlq-null-value", b""),))

    assert read_dead_letter(letter).value is None


@pytest.mark.parametrize(
    ("text", "queue"),
    [
        ("q/0/17", "q"),
        ("id-1", None),
        ("taskscheduler/1@2026", None),
        ("/0/1", None),
        ("q/a/1", None),
    ],
)
def test_a_source_is_told_from_a_task_id(text: str, queue: str | None) -> None:
    assert source_queue(text) == queue


def test_the_attempts_before_the_last_are_told() -> None:
    attempt = Attempt("2026-11-23T17:00:00.000Z", "OSError: away", "w1")
    header = ("taskq-attempts", write_attempts(NONE.with_one(attempt)))

    assert read_dead_letter(StoredDeadLetter("q/0/0", "q", b"", (header,))).earlier == (attempt,)
    assert read_dead_letter(LETTER).earlier == ()


def test_deliveries_of_which_nothing_is_known_stand_between_retries_and_known_deaths() -> None:
    retried = Attempt("2026-11-23T17:00:00.000Z", "OSError: away", "w1")
    died = Attempt("2026-11-23T17:05:00.000Z", "the pool process 7 that ran it was killed", "w2")
    letter = StoredDeadLetter(
        "q/0/0",
        "q",
        b"",
        (
            ("retries", b"1"),
            ("taskq-attempts", write_attempts(NONE.with_one(retried))),
            ("dlq-attempts", b"5"),
            ("dlq-deliveries", b"3"),
            ("dlq-deaths", write_attempts(NONE.with_one(died))),
        ),
    )

    view = read_dead_letter(letter)

    first, *counted, last = view.earlier
    assert (first, last) == (retried, died)
    assert [each.at for each in counted] == ["?", "?"]
    assert view.details == {"attempts": "5", "deliveries": "3"}


@pytest.mark.parametrize(("attempts", "said"), [(24, "1 to 3"), (22, "1"), (21, None)])
def test_it_is_said_which_attempts_are_not_kept(attempts: int, said: str | None) -> None:
    known = NONE
    for number in range(20):
        known = known.with_one(Attempt("2026-11-23T17:00:00.000Z", f"OSError: {number}", "w1"))
    headers = (
        ("retries", str(attempts - 1).encode()),
        ("taskq-attempts", write_attempts(known)),
        ("dlq-attempts", str(attempts).encode()),
    )

    view = read_dead_letter(StoredDeadLetter("q/0/0", "q", b"", headers))

    assert view.details.get("attempts-not-kept") == said


def test_attempts_that_ended_before_the_letter_are_all_kept_where_its_function_was_not_started() -> (
    None
):
    headers = (("dlq-attempts", b"2"), ("dlq-deliveries", b"2"))

    view = read_dead_letter(StoredDeadLetter("q/0/0", "q", b"", headers))

    assert len(view.earlier) == 2
    assert "attempts-not-kept" not in view.details
