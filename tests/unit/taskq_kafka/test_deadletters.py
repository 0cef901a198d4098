"""Dead letters: what is written, and which of what stands in a topic count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from taskq_kafka.deadletters import fitting, letter_of, newest_letters
from taskq_kafka.records import Record


@dataclass
class Dead:
    record: Record
    headers: list[tuple[str, bytes]]


@dataclass
class Stored:
    """As much of a confluent_kafka.Message as is read."""

    k: bytes | None
    v: bytes | None
    ms: int = 0
    h: list[tuple[str, bytes | None]] | None = None

    def key(self) -> bytes | None:
        return self.k

    def value(self) -> bytes | None:
        return self.v

    def headers(self) -> Any:
        return self.h

    def partition(self) -> int:
        return 7

    def timestamp(self) -> tuple[int, int]:
        return 1, self.ms


def dead(value: bytes | None = b"v", key: bytes | None = None, *added: tuple[str, bytes]) -> Dead:
    return Dead(Record("q", 1, 2, 3, key, value, [("task", b"\xff")]), list(added))


def test_letter_names_its_source_and_keeps_every_byte() -> None:
    letter = letter_of(dead(b"\x80", None, ("dlq-reason", b"failed")))

    assert (letter.queue, letter.key, letter.value) == ("q", b"q/1/2", b"\x80")
    assert letter.headers == [("task", b"\xff"), ("dlq-reason", b"failed")]


def test_source_key_and_missing_value_are_told() -> None:
    letter = letter_of(dead(None, b"k"))

    assert letter.value == b""
    assert list(letter.headers)[1:] == [("dlq-source-key", b"k"), ("dlq-null-value", b"true")]


def test_what_the_caller_says_of_them_counts() -> None:
    given = (("dlq-source-key", b"k"), ("dlq-null-value", b"1"))

    assert list(letter_of(dead(None, b"k", *given)).headers)[1:] == list(given)


def test_only_headers_of_dead_letters_are_added() -> None:
    assert list(letter_of(dead(b"v", None, ("reason", b"x"))).headers) == [("task", b"\xff")]


@given(
    headers=st.lists(st.tuples(st.just("dlq-x"), st.binary(max_size=3000)), max_size=8),
    limit=st.integers(100, 5000),
)
def test_added_headers_fit(headers: list[tuple[str, bytes]], limit: int) -> None:
    fitted = fitting(headers, limit)

    assert sum(len(name) + len(value) + 10 for name, value in fitted) <= limit


def test_long_text_loses_its_middle() -> None:
    ((_, value), short) = fitting([("dlq-error", b"a" * 500 + b"z" * 500), ("dlq-id", b"7")], 300)

    assert value.startswith(b"aaa")
    assert value.endswith(b"zzz")
    assert short == ("dlq-id", b"7")


def test_newest_of_a_key_counts_and_tombstones_remove() -> None:
    letters = newest_letters(
        "q",
        [
            Stored(b"q/0/1", b"old", 10),
            Stored(b"q/0/2", b"gone", 20),
            Stored(b"q/0/1", b"new", 30),
            Stored(b"q/0/2", None, 40),
            Stored(b"q/0/3", b"first", 5),
        ],
    )

    assert [(letter.id, letter.value) for letter in letters] == [
        ("q/0/3", b"first"),
        ("q/0/1", b"new"),
    ]


def test_a_key_that_is_no_text_can_be_written_again_as_it_was() -> None:
    (letter,) = newest_letters("q", [Stored(b"\xff/0/1", b"v")])

    assert letter.id.encode(errors="surrogateescape") == b"\xff/0/1"
    assert letter.partition == 7


def test_missing_value_is_missing_again() -> None:
    (letter,) = newest_letters("q", [Stored(b"q/0/1", b"", 1, [("dlq-null-value", b"true")])])

    assert letter.value is None
