"""Waits that grow."""

from __future__ import annotations

from taskq_kafka.backoff import Backoff


def test_waits_double_up_to_the_longest() -> None:
    backoff = Backoff(1, 10, jitter=lambda: 0)

    assert [backoff.next() for _ in range(6)] == [1, 2, 4, 8, 10, 10]


def test_jitter_shortens_a_wait_to_no_less_than_half() -> None:
    assert Backoff(8, 100, jitter=lambda: 1).next() == 4
    assert Backoff(8, 100, jitter=lambda: 0.5).next() == 6


def test_waits_begin_anew_after_a_reset() -> None:
    backoff = Backoff(1, 10, jitter=lambda: 0)
    backoff.next()
    backoff.next()

    backoff.reset()

    assert backoff.next() == 1
