"""Records that cannot be run, where their dead letters cannot be written: which partitions stand still, and what is said of it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from itertools import pairwise

import pytest

from taskq.protocols import DeadLetter
from taskq.worker.refusals import Refusals
from taskq.worker.screening import Refused
from tests.support.clock import FakeClock
from tests.support.fake_broker import isolated_app
from tests.support.fake_channel import FakeChannel
from tests.support.pools import record_of


class Bench:
    """Refusals of a queue; letters of the partitions in `refused` cannot be written."""

    def __init__(self) -> None:
        self.app, self.broker = isolated_app()
        self.channel = FakeChannel()
        self.clock = FakeClock()
        self.stopping = threading.Event()
        self.refusals = Refusals(
            "q", self.app, stopping=self.stopping, worker="w", clock=self.clock
        )
        self.refused: set[int] = set()
        self.written: list[int] = []
        self.broker.publisher.dead_letters = self._write  # type: ignore[method-assign]  # refuses some

    def _write(
        self, letters: Sequence[DeadLetter], *, timeout: float
    ) -> Sequence[Exception | None]:
        errors: list[Exception | None] = []
        for letter in letters:
            partition = letter.record.partition
            errors.append(ValueError("too large") if partition in self.refused else None)
            if errors[-1] is None:
                self.written.append(letter.record.delivery_tag)
        return errors

    def fetch(self, *partitions: int) -> list[Refused]:
        self.channel.put(*[record_of("b", partition=partition) for partition in partitions])
        records = self.channel.fetch(len(partitions), 0)
        return [Refused(record, None, "unknown_task", "no b") for record in records]

    def write_off(self, *partitions: int) -> list[int]:
        """Write off a new record of each partition; return their tags."""
        refused = self.fetch(*partitions)
        self.refusals.write_off(self.channel, refused)
        return [each.record.delivery_tag for each in refused]

    def try_again(self, seconds: float) -> None:
        self.clock.advance(seconds)
        if self.refusals.is_due:
            self.refusals.try_again(self.channel)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def _events(caplog: pytest.LogCaptureFixture) -> list[tuple[str, int]]:
    told = [vars(record) for record in caplog.records]
    return [(each["event"], each["partition"]) for each in told if "intake" in each["event"]]


def test_a_record_that_cannot_be_written_stops_its_partition_alone(bench: Bench) -> None:
    bench.refused = {1}

    first, second = bench.write_off(0, 1)

    assert bench.channel.settled == [first]
    assert bench.channel.passed_over == {1}
    assert second in bench.channel.fetched
    assert set(bench.refusals.blocked) == {1}


def test_what_can_be_written_stops_nothing(bench: Bench) -> None:
    bench.write_off(0)

    assert "pass_over" not in bench.channel.calls
    assert not bench.refusals.is_due


def test_the_partition_goes_on_when_its_record_is_written(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    bench.refused = {0, 1}
    tags = bench.write_off(0, 1)

    bench.refused = {1}
    bench.try_again(1)

    assert bench.channel.settled == tags[:1]
    assert bench.channel.passed_over == {1}
    assert _events(caplog) == [
        ("intake.partition_blocked", 0),
        ("intake.partition_blocked", 1),
        ("intake.partition_freed", 0),
    ]


def test_it_is_tried_again_ever_more_rarely(bench: Bench) -> None:
    bench.refused = {0}
    bench.write_off(0)

    tries = []
    for second in range(60):
        bench.clock.advance(1)
        if bench.refusals.is_due:
            tries.append(second)
            bench.refusals.try_again(bench.channel)

    gaps = [later - sooner for sooner, later in pairwise(tries)]
    assert gaps == sorted(gaps)
    assert gaps[-1] == 10


def test_it_is_said_again_every_minute(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.refused = {0}
    bench.write_off(0)

    for _ in range(13):
        bench.try_again(10)

    assert _events(caplog) == [("intake.partition_blocked", 0)] * 3
    assert "too large" in caplog.text


def test_what_a_rebalance_took_is_not_written_here(bench: Bench) -> None:
    bench.refused = {0}
    bench.write_off(0)

    bench.channel.fetched.clear()
    bench.refused = set()
    bench.try_again(1)

    assert bench.written == []
    assert bench.channel.passed_over == set()
    assert not bench.refusals.blocked


def test_nothing_is_tried_again_while_the_worker_stops(bench: Bench) -> None:
    bench.refused = {0}
    bench.write_off(0)

    bench.stopping.set()
    bench.clock.advance(60)

    assert not bench.refusals.is_due


def test_a_closed_channels_records_are_forgotten(bench: Bench) -> None:
    bench.refused = {0}
    bench.write_off(0)

    bench.refusals.forget()
    bench.clock.advance(60)

    assert not bench.refusals.is_due
    assert not bench.refusals.blocked
