"""The header that tells what went wrong so far: what is written is read, it stays small, and nonsense counts as nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskq.attempts import MOST, MOST_BYTES, NONE, Attempt, read_attempts, write_attempts


def attempt(number: int) -> Attempt:
    return Attempt(f"2026-11-23T17:00:{number:02}.000Z", f"ValueError: {number}", "w1")


def test_of_very_many_attempts_the_last_and_the_first_instant_are_kept() -> None:
    found = NONE
    for number in range(MOST + 3):
        found = read_attempts(write_attempts(found.with_one(attempt(number))).decode())

    assert found.first == attempt(0).at
    assert [each.error for each in found.last] == [f"ValueError: {n}" for n in range(3, MOST + 3)]


def test_a_long_text_is_cut_before_short_ones() -> None:
    found = NONE
    for number in range(MOST - 1):
        found = found.with_one(attempt(number))

    written = write_attempts(found.with_one(Attempt("t", "x" * 5000, "w1")))

    *short, long = read_attempts(written.decode()).last
    assert [each.error for each in short] == [f"ValueError: {n}" for n in range(MOST - 1)]
    assert len(long.error) > 300


def test_what_does_not_fit_with_all_texts_cut_costs_the_oldest() -> None:
    found = NONE
    for number in range(MOST):
        found = found.with_one(Attempt("\0" * 100, str(number), "w"))

    value = write_attempts(found)

    assert len(value) <= MOST_BYTES
    assert 0 < len(read_attempts(value.decode()).last) < MOST


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.text(max_size=9), st.text(max_size=9)), max_size=MOST + 2),
    st.integers(1, 500),
)
def test_the_header_stays_small_and_readable(texts: list[tuple[str, ...]], times: int) -> None:
    found = NONE
    for error, worker in texts:
        found = found.with_one(Attempt(attempt(7).at, error * times, worker * times))

    value = write_attempts(found)

    assert len(value) <= MOST_BYTES
    assert len(read_attempts(value.decode()).last) == min(len(texts), MOST)


def test_a_long_error_keeps_its_beginning() -> None:
    found = NONE
    for _ in range(MOST):
        found = found.with_one(Attempt("", "é" * 2000, "w" * 500))

    errors = [each.error for each in read_attempts(write_attempts(found).decode()).last]

    assert all(error and set(error) == {"é"} for error in errors)


@pytest.mark.parametrize(
    "text",
    [
        None,
        3,
        "",
        "no JSON",
        "[]",
        "[" * 100_000,
        '{"format": 2, "first": "x", "last": []}',
        '{"format": 1, "last": 3}',
        '{"format": 1, "first": 7, "last": [3, null]}',
    ],
)
def test_what_cannot_be_read_counts_as_nothing(text: Any) -> None:
    assert read_attempts(text) == NONE


def test_it_is_json_that_any_tool_can_show() -> None:
    value = json.loads(write_attempts(NONE.with_one(Attempt("t", "é", "w"))))

    assert value == {"format": 1, "first": "t", "last": [{"at": "t", "error": "é", "worker": "w"}]}


def test_half_a_character_does_not_break_it() -> None:
    found = read_attempts(write_attempts(NONE.with_one(Attempt("t", "\udcff", "w"))).decode())

    assert found.last[0].error == "\udcff"
