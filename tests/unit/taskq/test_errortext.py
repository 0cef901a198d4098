from __future__ import annotations

import pytest

from taskq.errortext import (
    ERROR_CHARACTERS,
    TRACEBACK_BYTES,
    error_text,
    one_line,
    traceback_text,
)


def test_an_error_that_cannot_be_shown_is_named() -> None:
    class Strange(Exception):
        def __str__(self) -> str:
            raise ValueError("no")

    assert error_text(Strange()) == "Strange: (its text cannot be shown: ValueError)"


def test_an_error_without_text_is_its_name() -> None:
    assert error_text(KeyError()) == "KeyError"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\n  b\tc", "a b c"),
        ("a\x1b[31m", "a\\x1b[31m"),
        ("\ud800", "\\ud800"),
        ("x" * 5000, "x" * ERROR_CHARACTERS),
    ],
)
def test_a_text_is_one_line_that_is_short_and_harmless(text: str, line: str) -> None:
    assert one_line(text) == line


def test_of_a_long_traceback_the_end_is_kept() -> None:
    try:
        raise ValueError("y" * 50_000)
    except ValueError as error:
        text = traceback_text(error)

    assert len(text.encode()) <= TRACEBACK_BYTES
    assert text.endswith("y\n")
