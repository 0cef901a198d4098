from __future__ import annotations

from taskq.dev.lines import LONGEST, LineBuffer


def test_a_line_is_given_when_its_end_has_come() -> None:
    buffer = LineBuffer()

    assert list(buffer.feed(b"one\ntw")) == [b"one"]
    assert list(buffer.feed(b"o\r\n\n")) == [b"two", b""]


def test_what_has_no_end_is_given_at_the_end() -> None:
    buffer = LineBuffer()
    list(buffer.feed(b"one"))

    assert list(buffer.flush()) == [b"one"]
    assert list(buffer.flush()) == []


def test_a_line_without_end_is_broken_before_it_fills_the_memory() -> None:
    buffer = LineBuffer()

    assert list(buffer.feed(b"x" * LONGEST)) == [b"x" * LONGEST]
