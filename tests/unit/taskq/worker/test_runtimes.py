from __future__ import annotations

import pytest

from taskq.worker.runtimes import Runtimes


def test_unknown_task_is_not_short() -> None:
    assert Runtimes().short_ns("a") is None


def test_first_run_is_the_average() -> None:
    runtimes = Runtimes()

    runtimes.observe("a", 0.002)

    assert runtimes.short_ns("a") == pytest.approx(2_000_000, abs=1)


def test_average_follows_later_runs() -> None:
    runtimes = Runtimes()
    runtimes.observe("a", 0.001)

    for _ in range(30):
        runtimes.observe("a", 0.005)

    assert runtimes.short_ns("a") == pytest.approx(5_000_000, rel=0.01)


def test_more_than_ten_milliseconds_is_long() -> None:
    runtimes = Runtimes()

    runtimes.observe("a", 0.0101)

    assert runtimes.short_ns("a") is None


def test_a_run_of_no_time_costs_at_least_a_nanosecond() -> None:
    runtimes = Runtimes()

    runtimes.observe("a", 0.0)

    assert runtimes.short_ns("a") == 1
