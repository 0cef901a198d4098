"""What a host asks its shards for, and how long it polls meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Any, cast

import pytest

from taskq.timing.shards import Firing
from taskq_kafka.logrecords import LogRecord
from taskq_kafka.shardsdue import BUSY_LOOK, FRUITLESS, LOOK_EVERY, ShardsDue
from taskq_kafka.shardset import ShardSet


class FakeShard:
    """Says when it has something, and may have nothing then."""

    def __init__(self) -> None:
        self.due: int | None = None
        self.firings: list[Firing] = []
        self.wants: list[int] = []
        self.loaded: list[object] = []

    def next_due(self) -> int | None:
        return self.due

    def wanted(self, now_ms: int) -> Sequence[int]:
        return self.wants

    def load(self, records: Sequence[LogRecord]) -> None:
        self.loaded += records

    def take(self, now_ms: int, limit: int) -> list[Firing]:
        return self.firings


class FakeLoader:
    """Has come what a test says."""

    def __init__(self) -> None:
        self.is_busy = False
        self.asked: dict[int, list[int]] = {}
        self.come: dict[int, list[object]] = {}

    def want(self, partition: int, offsets: Iterable[int]) -> None:
        self.asked[partition] = list(offsets)

    def step(self) -> dict[int, list[object]]:
        return self.come


class Bench:
    """One open shard, at 1,000 ms."""

    def __init__(self) -> None:
        self.shard, self.loader, self.woken = FakeShard(), FakeLoader(), threading.Event()
        shards = ShardSet()
        shards.open(3, cast(Any, self.shard))
        opened = shards.get(3)
        assert opened is not None
        opened.ready = True
        self.due = ShardsDue(shards, cast(Any, self.loader), lambda: 1_000, self.woken)

    def take(self) -> list[str]:
        return [each.firing.name for each in self.due.take()]


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize(
    ("due", "seconds"),
    [(None, LOOK_EVERY), (9_999, LOOK_EVERY), (1_010, 0.01), (1_000, 0.0), (0, 0.0)],
)
def test_a_poll_ends_when_something_is_due(bench: Bench, due: int | None, seconds: float) -> None:
    bench.shard.due = due

    assert bench.due.wait() == pytest.approx(seconds)


def test_a_poll_is_short_while_single_records_are_to_come(bench: Bench) -> None:
    bench.loader.is_busy = True

    assert bench.due.wait() == BUSY_LOOK


def test_who_was_woken_does_not_wait_and_asks_shards_that_had_nothing(bench: Bench) -> None:
    bench.shard.firings = [Firing("late")]
    before = bench.take()
    bench.woken.set()

    wait = bench.due.wait()

    assert (before, wait, bench.take()) == ([], 0.0, ["late"])
    assert not bench.woken.is_set()


def test_a_shard_that_is_due_and_has_nothing_is_not_asked_without_a_pause(bench: Bench) -> None:
    bench.shard.due = 900

    assert bench.take() == []
    assert bench.due.wait() == FRUITLESS


def test_the_pause_ends_with_the_next_that_has_something(bench: Bench) -> None:
    bench.shard.due = 900
    bench.take()
    bench.shard.firings = [Firing("it")]

    assert bench.take() == ["it"]
    assert bench.due.wait() == 0.0


def test_records_of_what_is_due_soon_are_asked_for(bench: Bench) -> None:
    bench.shard.due, bench.shard.wants = 1_000, [7, 9]

    bench.take()

    assert bench.loader.asked == {3: [7, 9]}


def test_a_shard_whose_records_have_come_is_asked_though_it_had_nothing(bench: Bench) -> None:
    record = object()
    bench.loader.come = {3: [record]}
    bench.shard.firings = [Firing("whole")]

    assert bench.take() == ["whole"]
    assert bench.shard.loaded == [record]


def test_records_of_a_shard_that_has_gone_are_passed_over(bench: Bench) -> None:
    bench.loader.come = {4: [object()]}

    assert bench.take() == []
