from __future__ import annotations

import math
from dataclasses import dataclass

from taskq.worker.rates import Rates, TokenBucket


@dataclass(frozen=True)
class Start:
    task: str
    number: int = 0


def numbers(starts: object) -> list[int]:
    assert isinstance(starts, list)
    return [start.number for start in starts]


def test_a_bucket_begins_full_and_fills_at_its_rate() -> None:
    bucket = TokenBucket(2.0)

    assert bucket.fill(100.0) == 1
    bucket.take(1)
    assert bucket.fill(100.4) == 0
    assert math.isclose(bucket.wait(), 0.1)
    assert bucket.fill(100.5) == 1


def test_a_wait_that_is_over_is_not_followed_by_another() -> None:
    bucket = TokenBucket(5 / 3600)
    now = 1e9
    bucket.fill(now)
    bucket.take(1)

    for _ in range(50):
        now += bucket.wait()
        assert bucket.fill(now) == 1
        bucket.take(1)


def test_a_fast_rate_may_start_a_tenth_of_a_second_at_once_and_no_more() -> None:
    bucket = TokenBucket(1000.0)

    assert bucket.fill(0.0) == 100
    assert bucket.fill(3600.0) == 100


def test_what_starts_in_an_hour_is_the_rate_and_one_burst() -> None:
    bucket = TokenBucket(10.0)
    started = 0
    for step in range(36_000):
        count = bucket.fill(step / 10)
        bucket.take(count)
        started += count

    assert 35_999 <= started <= 36_001


def test_a_clock_that_stands_still_gives_nothing_more() -> None:
    bucket = TokenBucket(1.0)
    bucket.fill(5.0)
    bucket.take(1)

    assert bucket.fill(5.0) == 0
    assert bucket.fill(4.0) == 0


def test_the_first_of_a_task_may_start_and_others_pass_the_rest() -> None:
    rates = Rates({"slow": 1.0})
    hand = [Start("slow", 1), Start("slow", 2), Start("quick", 3), Start("slow", 4)]

    ready, _ = rates.split(hand, 10.0)
    assert numbers(ready) == [1, 3]
    rates.take(ready)
    ready, wait = rates.split(hand[1:2] + hand[3:], 10.25)

    assert numbers(ready) == []
    assert math.isclose(wait, 0.75)


def test_the_wait_is_that_of_the_task_that_may_start_first() -> None:
    rates = Rates({"slow": 0.1, "slower": 0.01})
    hand = [Start("slower"), Start("slow")]
    rates.take(rates.split(hand, 0.0)[0])

    ready, wait = rates.split(hand, 0.0)

    assert not ready
    assert math.isclose(wait, 10.0)


def test_without_rates_all_may_start() -> None:
    hand = [Start("a"), Start("b")]

    assert Rates({}).split(hand, 0.0) == (hand, math.inf)
