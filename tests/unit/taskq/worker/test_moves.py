"""Messages whose eta has not come: where they go, and what happens where they cannot go there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from taskq.message import JSON_ONLY
from taskq.timing.shards import Write
from taskq.timing.timers import LATEST_MS, read_due
from taskq.worker.moves import Moves
from taskq.worker.refusals import Refusals
from taskq.worker.screening import Early, Screen
from tests.support.clock import START, FakeClock
from tests.support.fake_broker import isolated_app
from tests.support.fake_channel import FakeChannel
from tests.support.pools import record_of


class Bench:
    """Moves of a queue with nothing behind them."""

    def __init__(self) -> None:
        self.app, self.broker = isolated_app()
        self.channel = FakeChannel()
        self.clock = FakeClock()
        self.stopping = threading.Event()
        self.kept = 0
        refusals = Refusals("q", self.app, stopping=self.stopping, worker="w", clock=self.clock)
        self.moves = Moves("q", self.app, refusals, stopping=self.stopping, clock=self.clock)

    def early(self, *names: str, eta: str = "2026-11-23T18:00:00.000400+00:00") -> list[Early]:
        screen = Screen(self.app.registry, JSON_ONLY)
        records = [record_of("a", id=name, extra={"eta": eta}, key=b"k") for name in names]
        self.channel.put(*records)
        verdicts = [screen.judge(record, START) for record in self.channel.fetch(len(records), 0)]
        return [verdict for verdict in verdicts if isinstance(verdict, Early)]

    def move(self, early: Sequence[Early]) -> None:
        def keep() -> None:
            self.kept += 1

        self.moves.move(self.channel, early, keep, lambda: False)

    def move_beside(self, early: Sequence[Early], meanwhile: Callable[[], object]) -> None:
        with ThreadPoolExecutor(1) as pool:
            moving = pool.submit(self.move, early)
            self.clock.wait_for_sleeper()
            meanwhile()
            self.clock.advance(10)
            moving.result(5)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_it_becomes_a_timer_that_is_due_not_before_its_eta(bench: Bench) -> None:
    [early] = bench.early("x")

    bench.move([early])

    [write] = bench.channel.moved
    headers = dict(write.headers)
    assert write.log == "taskq.timers"
    assert write.key == b"x/q-0-%d" % early.record.offset
    assert write.value == early.record.value
    assert headers["timer-due"] == str(int(START.timestamp() * 1000) + 3_600_001).encode()
    assert (headers["timer-queue"], headers["timer-key"]) == (b"q", b"k")
    assert headers["eta"] == b"2026-11-23T18:00:00.000400+00:00"
    assert bench.broker.logs.checked == ["taskq.timers"]


def test_an_eta_at_the_end_of_the_calendar_becomes_a_timer_that_can_be_read(bench: Bench) -> None:
    [early] = bench.early("x", eta="9999-12-31T23:59:59.999999+00:00")

    bench.move([early])

    [write] = bench.channel.moved
    assert read_due(write.headers) == LATEST_MS


def test_what_is_refused_is_left_to_come_again(bench: Bench) -> None:
    early = bench.early("x", "y")
    bench.channel.refuses = lambda tags: {early[0].record.delivery_tag} & set(tags)

    bench.move(early)

    assert [write.route for write in bench.channel.moved] == [b"y"]


def test_where_the_timers_are_unfit_the_queue_stands_still_until_they_are_fit(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.broker.logs.check_error = ValueError("cleanup.policy is 'delete'")

    def mend() -> None:
        bench.broker.logs.check_error = None

    bench.move_beside(bench.early("x"), mend)

    assert [write.route for write in bench.channel.moved] == [b"x"]
    assert bench.kept == 1
    assert "stands still" in caplog.text
    assert "cleanup.policy" in caplog.text
    assert not bench.broker.publisher.letters


def test_a_worker_that_stops_leaves_what_it_could_not_move_in_the_queue(bench: Bench) -> None:
    bench.broker.logs.check_error = ConnectionError("away")

    bench.move_beside(bench.early("x"), bench.stopping.set)

    assert not bench.channel.moved
    assert not bench.channel.settled


def test_one_that_the_timers_do_not_take_is_a_dead_letter_and_the_others_are_moved(
    bench: Bench,
) -> None:
    early = bench.early("x", "large", "z")

    def too_large(writes: Sequence[Write]) -> Exception | None:
        return ValueError("too large") if any(each.route == b"large" for each in writes) else None

    bench.channel.move_error = too_large

    bench.move(early)

    assert [write.route for write in bench.channel.moved] == [b"x", b"z"]
    [letter] = bench.broker.publisher.letters
    assert dict(letter.headers)["dlq-reason"] == b"unsupported"
