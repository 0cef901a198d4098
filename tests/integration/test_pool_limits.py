"""Limits of runs and of pool processes, with real processes and threads, and without a broker."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import cast

import pytest

from taskq.clock import SystemClock
from taskq.logs import LogPlan
from taskq.running.executor import Executor
from taskq.running.runresult import FAILED, SUCCEEDED, Detail
from taskq.sources import Sources
from taskq.worker.delivery import Delivery
from taskq.worker.poolfactory import load_pool_app
from taskq.worker.pools.aio import AsyncioPool
from taskq.worker.pools.alarms import SignalAlarm, ThreadAlarm
from taskq.worker.pools.child import ChildSetup
from taskq.worker.pools.memory import resident_bytes
from taskq.worker.pools.prefork import PreforkPool
from taskq.worker.pools.protocol import Pool
from taskq.worker.pools.solo import SoloPool
from taskq.worker.pools.threads import ThreadsPool
from tests.support.pool_tasks import app
from tests.support.pools import PoolLog, delivery_of
from tests.support.waiting import wait_until

PLAN = LogPlan(level=logging.INFO, task_level=logging.INFO, whole=False)
MODULE = "tests.support.pool_tasks:app"
SOON = 0.05
"""Seconds of a limit that is to be met."""

SOON_INSIDE = 0.5
"""The same where the task is to be at a certain place by then: its first steps take a millisecond, or as long as others compute."""

LONG = 600.0
"""Seconds of a limit that is not."""


class Running:
    """A pool that is ready, and what it told."""

    def __init__(self, pool: Pool, log: PoolLog) -> None:
        self.pool = pool
        self.log = log

    def run(self, *deliveries: Delivery) -> None:
        """Run deliveries to their ends, ticking as a supervisor does; what is called back from behind another is sent again."""
        wanted, before = len(self.log.results) + len(deliveries), len(self.log.returned)
        self.pool.send(0, deliveries)
        if self.pool.uses_main_thread:
            self.pool.shut_down()
            self.pool.serve()

        def look() -> bool:
            nonlocal before
            back = self.log.returned[before:]
            if back:
                before += len(back)
                self.pool.send(0, back)
            return len(self.log.results) >= wanted

        self.wait(look)

    def wait(self, look: Callable[[], object]) -> None:
        """Wait until something is true, ticking as a supervisor does."""

        def tick() -> object:
            self.pool.tick()
            return look()

        wait_until(tick, timeout=60, what="the pool")

    def detail_of(self, delivery: Delivery) -> Detail:
        """Return what a failed delivery's result says."""
        kind, _, _, detail = self.log.result_of(delivery)
        assert kind == FAILED
        assert detail is not None
        return cast("Detail", detail)


Start = Callable[..., Running]


def _make(kind: str, slots: int, **per_child: int) -> Pool:
    if kind == "prefork":
        setup = ChildSetup(partial(load_pool_app, (MODULE,), Sources()), PLAN, **per_child)
        return PreforkPool(slots, setup, ["tests.support.pool_tasks"], SystemClock())
    app.adopt(Sources())
    if kind == "solo":
        return SoloPool(Executor(app, PLAN, alarm=SignalAlarm(cancels=True)))
    executor = Executor(app, PLAN, alarm=ThreadAlarm(SystemClock()))
    return ThreadsPool(slots, executor) if kind == "threads" else AsyncioPool(slots, executor)


@pytest.fixture
def start() -> Iterator[Start]:
    pools: list[Pool] = []

    def start(kind: str = "prefork", slots: int = 1, **per_child: int) -> Running:
        pool, log = _make(kind, slots, **per_child), PoolLog()
        pools.append(pool)
        pool.start(log)
        log.wait(lambda: log.open and all(log.open.values()))
        return Running(pool, log)

    yield start
    for pool in pools:
        pool.shut_down()
        pool.kill()


def _processes(file: Path) -> list[str]:
    """Return the processes that noted themselves, in their order, each once."""
    return list(dict.fromkeys(_lines(file)))


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


in_every_pool = pytest.mark.parametrize("kind", ["prefork", "threads", "asyncio", "solo"])


@in_every_pool
def test_soft_limit_is_raised_in_a_plain_function(start: Start, kind: str, tmp_path: Path) -> None:
    spinning = delivery_of("spins", str(tmp_path / "a"), limits=(None, SOON_INSIDE))
    tidying = delivery_of("tidies_up", str(tmp_path / "b"), limits=(LONG, SOON_INSIDE))
    running = start(kind)

    running.run(spinning, tidying)

    reason, error, trace, _ = running.detail_of(spinning)
    assert reason == "time_limit"
    assert error.startswith("SoftTimeLimitExceeded: it ran longer than its soft_time_limit")
    assert "in _spin" in trace
    assert running.log.result_of(tidying)[0] == SUCCEEDED
    assert _lines(tmp_path / "b") == ["tidied up"]


@in_every_pool
def test_soft_limit_is_raised_in_a_coroutine(start: Start, kind: str, tmp_path: Path) -> None:
    waiting = delivery_of("waits_async", str(tmp_path / "a"), limits=(None, SOON))
    running = start(kind)

    running.run(waiting)

    assert running.detail_of(waiting)[:2] == (
        "time_limit",
        f"SoftTimeLimitExceeded: it ran longer than its soft_time_limit of {SOON:g} s",
    )
    assert _lines(tmp_path / "a") == ["SoftTimeLimitExceeded"]


@pytest.mark.parametrize("kind", ["threads", "asyncio", "solo"])
def test_coroutine_is_cancelled_at_its_hard_limit_where_no_process_can_be_killed(
    start: Start, kind: str, tmp_path: Path
) -> None:
    waiting = delivery_of("waits_async", str(tmp_path / "a"), limits=(SOON, None))
    running = start(kind)

    running.run(waiting)

    assert running.detail_of(waiting)[:2] == (
        "time_limit",
        f"TimeLimitExceeded: it ran longer than its time_limit of {SOON:g} s",
    )
    assert _lines(tmp_path / "a") == ["CancelledError"]


@in_every_pool
def test_limit_that_is_not_met_leaves_the_next_task_alone(
    start: Start, kind: str, tmp_path: Path
) -> None:
    file = str(tmp_path / "a")
    limited = [delivery_of("note", file, str(n), limits=(LONG, LONG - 1)) for n in range(20)]
    running = start(kind)

    running.run(*limited, delivery_of("adds", 1, 2))

    assert {result[0] for _, result in running.log.results} == {SUCCEEDED}


def test_process_is_killed_at_the_hard_limit_and_what_it_held_comes_back(
    start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spinning = delivery_of("spins", str(tmp_path / "a"), limits=(SOON, None))
    behind = [delivery_of("adds", 1, n, cost_ns=1000) for n in range(3)]
    running = start()

    running.pool.send(0, [spinning, *behind])
    running.wait(lambda: running.log.results and len(running.log.returned) == 3)
    running.wait(lambda: running.log.open[0])
    running.run(delivery_of("adds", 1, 2))

    reason, error, _, _ = running.detail_of(spinning)
    assert reason == "time_limit"
    assert error.startswith(f"TimeLimitExceeded: it ran longer than its time_limit of {SOON:g} s;")
    assert error.endswith("was killed by signal 9 (SIGKILL)")
    assert running.log.returned == behind
    events = _events(caplog)
    assert events.count("pool.process_killed") == 1
    assert "pool.process_died" not in events


def test_task_that_swallows_its_soft_limit_runs_into_the_hard_one(
    start: Start, tmp_path: Path
) -> None:
    limits = (8 * SOON_INSIDE, SOON_INSIDE)
    stubborn = delivery_of("spins_on", str(tmp_path / "a"), limits=limits)
    running = start()

    running.run(stubborn)

    assert running.detail_of(stubborn)[0] == "time_limit"
    assert _lines(tmp_path / "a") == [
        f"it ran longer than its soft_time_limit of {SOON_INSIDE:g} s"
    ]
    assert running.detail_of(stubborn)[1].startswith("TimeLimitExceeded")


def test_process_is_replaced_after_its_number_of_tasks_and_nothing_is_lost(
    start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    file = tmp_path / "pids"
    running = start(max_tasks=3)

    for _ in range(7):
        running.wait(lambda: running.log.open[0])
        running.run(delivery_of("pid", str(file)))

    lines = _lines(file)
    assert [lines.count(pid) for pid in _processes(file)] == [3, 3, 1]
    assert {result[0] for _, result in running.log.results} == {SUCCEEDED}
    events = _events(caplog)
    assert events.count("pool.process_replaced") == 2
    assert "pool.process_died" not in events


def test_what_a_process_holds_behind_its_last_task_comes_back_at_once(
    start: Start, tmp_path: Path
) -> None:
    gate, started = tmp_path / "gate", tmp_path / "started"
    last = delivery_of("waits_for_file", str(started), str(gate))
    behind = [delivery_of("adds", 1, n, cost_ns=1000) for n in range(3)]
    running = start(max_tasks=1)

    running.pool.send(0, [last, *behind])
    # Nobody ticks: it is the retiring that brings them back.
    running.log.wait(lambda: len(running.log.returned) == 3)
    assert not running.log.results
    gate.touch()
    running.wait(lambda: running.log.results)

    assert running.log.returned == behind
    assert running.log.result_of(last)[0] == SUCCEEDED


def test_next_process_starts_while_the_last_task_of_the_one_before_runs(
    start: Start, tmp_path: Path
) -> None:
    gate, started = tmp_path / "gate", tmp_path / "started"
    running = start(max_tasks=1)
    pool = running.pool
    assert isinstance(pool, PreforkPool)

    running.pool.send(0, [delivery_of("waits_for_file", str(started), str(gate))])
    running.wait(lambda: pool._heirs and pool._heirs[0].is_ready)
    assert not running.log.open[0]
    gate.touch()
    running.wait(lambda: running.log.open[0])
    running.run(delivery_of("pid", str(started)))

    assert len(_processes(started)) == 2


def test_heir_that_dies_before_its_turn_is_replaced(start: Start, tmp_path: Path) -> None:
    gate, started = tmp_path / "gate", tmp_path / "started"
    running = start(max_tasks=1)
    pool = running.pool
    assert isinstance(pool, PreforkPool)
    running.pool.send(0, [delivery_of("waits_for_file", str(started), str(gate))])
    running.wait(lambda: pool._heirs and pool._heirs[0].is_ready)
    first = pool._heirs[0]

    first.kill()
    running.wait(lambda: pool._heirs.get(0) not in (None, first) and pool._heirs[0].is_ready)
    gate.touch()
    running.wait(lambda: running.log.open[0])
    running.run(delivery_of("adds", 1, 2))

    assert {result[0] for _, result in running.log.results} == {SUCCEEDED}


def test_pool_with_an_heir_ends_in_order(start: Start, tmp_path: Path) -> None:
    gate, started = tmp_path / "gate", tmp_path / "started"
    running = start(max_tasks=1)
    pool = running.pool
    assert isinstance(pool, PreforkPool)
    running.pool.send(0, [delivery_of("waits_for_file", str(started), str(gate))])
    running.wait(lambda: pool._heirs and pool._heirs[0].is_ready)

    pool.shut_down()
    assert not pool.is_down
    gate.touch()
    running.wait(lambda: pool.is_down)

    assert running.log.results[0][1][0] == SUCCEEDED


def test_process_that_has_grown_too_large_is_replaced_after_its_task(
    start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    file = tmp_path / "pids"
    # A copy of this process begins with as much as the tests before have left here.
    running = start(max_memory=resident_bytes() + 150_000_000)

    running.run(delivery_of("pid", str(file)))
    running.run(delivery_of("keeps", 300_000_000))
    running.wait(lambda: running.log.open[0] and not running.pool.unfinished())
    running.wait(lambda: "pool.process_replaced" in _events(caplog))
    running.wait(lambda: running.log.open[0])
    running.run(delivery_of("pid", str(file)))

    assert len(_processes(file)) == 2
    assert {result[0] for _, result in running.log.results} == {SUCCEEDED}


def _events(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [getattr(record, "event", "") for record in caplog.records]
