"""Ending what was revoked and runs, and keeping back what has not begun, with real processes and threads and without a broker."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from taskq.clock import SystemClock
from taskq.logs import LogPlan
from taskq.running.executor import Executor
from taskq.running.interrupts import Interrupts
from taskq.running.runresult import REVOKED, SUCCEEDED
from taskq.sources import Sources
from taskq.worker.delivery import Delivery
from taskq.worker.poolfactory import load_pool_app
from taskq.worker.pools.aio import AsyncioPool
from taskq.worker.pools.child import ChildSetup
from taskq.worker.pools.prefork import PreforkPool
from taskq.worker.pools.protocol import Pool
from taskq.worker.pools.solo import SoloPool
from taskq.worker.pools.threads import ThreadsPool
from tests.support.pool_tasks import app
from tests.support.pools import PoolLog, delivery_of
from tests.support.waiting import wait_until

PLAN = LogPlan(level=logging.INFO, task_level=logging.INFO, whole=False)


class Running:
    """A pool of one slot that is ready, and what it told."""

    def __init__(self, kind: str) -> None:
        self.pool, self.log = _make(kind), PoolLog()
        self.pool.start(self.log)
        self.server = threading.Thread(target=self.pool.serve)
        self.server.start()
        self.wait(lambda: self.log.open.get(0))

    def wait(self, look: Callable[[], object], *dropped: Delivery) -> None:
        """Wait until something is true, ticking and dropping as a supervisor does."""

        def tick() -> object:
            self.pool.tick()
            self.pool.drop(dropped)
            return look()

        wait_until(tick, timeout=60, what="the pool")

    def how(self, delivery: Delivery) -> str:
        """Return how a delivery that was revoked has ended."""
        kind, _, _, detail = self.log.result_of(delivery)
        assert kind == REVOKED
        assert detail is not None
        return str(detail[1])

    def close(self) -> None:
        self.pool.shut_down()
        self.pool.kill()
        self.server.join(10)


def _make(kind: str) -> Pool:
    if kind == "prefork":
        setup = ChildSetup(
            partial(load_pool_app, ("tests.support.pool_tasks:app",), Sources()), PLAN
        )
        return PreforkPool(1, setup, ["tests.support.pool_tasks"], SystemClock())
    app.adopt(Sources())
    executor = Executor(app, PLAN, interrupts=Interrupts())
    if kind == "solo":
        return SoloPool(executor)
    return ThreadsPool(1, executor) if kind == "threads" else AsyncioPool(1, executor)


@pytest.fixture
def start() -> Iterator[Callable[[str], Running]]:
    pools: list[Running] = []

    def start(kind: str) -> Running:
        pools.append(Running(kind))
        return pools[-1]

    yield start
    for running in pools:
        running.close()


in_every_pool = pytest.mark.parametrize("kind", ["prefork", "threads", "asyncio", "solo"])


@in_every_pool
@pytest.mark.parametrize("task", ["spins", "waits_async"])
def test_run_is_ended_and_the_next_one_is_not(
    start: Callable[[str], Running], kind: str, task: str, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    running = start(kind)
    # Marked after its start: what is revoked before does not begin.
    ended = delivery_of(task, str(begun))
    running.pool.send(0, [ended])
    if task == "spins":
        running.wait(begun.exists)
    else:
        running.wait(lambda: _runs(running, ended))

    ended.is_revoked = ended.is_to_end = True
    running.wait(lambda: running.log.results, ended)
    running.wait(lambda: running.log.open[0])
    following = delivery_of("adds", 1, 2)
    running.pool.send(0, [following])
    running.wait(lambda: len(running.log.results) == 2)

    how = running.how(ended)
    if kind == "prefork":
        assert how.endswith("was killed by signal 9 (SIGKILL)")
    else:
        assert how == f"ended with {'Terminated' if task == 'spins' else 'CancelledError'}"
    assert running.log.result_of(following)[0] == SUCCEEDED
    assert not running.pool.unfinished()


def _runs(running: Running, delivery: Delivery) -> bool:
    pool = running.pool
    if isinstance(pool, PreforkPool):
        link = pool._children[0]
        return link is not None and link.running() is delivery
    call = getattr(pool, "_calls").get(delivery)  # noqa: B009 - the pools' that are not processes
    return call is not None and call.interrupt is not None


@pytest.mark.parametrize("terminate", [False, True])
@in_every_pool
def test_what_waits_behind_another_does_not_begin_and_the_other_ends(
    start: Callable[[str], Running], kind: str, terminate: bool, tmp_path: Path
) -> None:
    gate, begun, file = tmp_path / "gate", tmp_path / "begun", tmp_path / "file"
    first = delivery_of("waits_for_file", str(begun), str(gate))
    revoked = delivery_of("note", str(file), "x", cost_ns=1000)
    running = start(kind)
    running.pool.send(0, [first, revoked])
    running.wait(begun.exists)
    revoked.is_revoked, revoked.is_to_end = True, terminate

    if kind == "prefork":
        running.wait(lambda: running.log.returned, revoked)
    else:
        running.wait(lambda: True, revoked)
    gate.touch()
    # What has ended is told a moment after it is not held any more.
    running.wait(lambda: len(running.log.results + running.log.returned) == 2, revoked)

    assert not running.pool.unfinished()
    assert running.log.result_of(first)[0] == SUCCEEDED
    if kind == "prefork":
        assert running.log.returned == [revoked]
    else:
        assert running.how(revoked) == ""
    assert not file.exists()


@in_every_pool
def test_run_that_is_revoked_and_not_to_end_goes_on(
    start: Callable[[str], Running], kind: str, tmp_path: Path
) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    delivery = delivery_of("waits_for_file", str(begun), str(gate))
    running = start(kind)
    running.pool.send(0, [delivery])
    running.wait(begun.exists)
    delivery.is_revoked = True

    running.wait(lambda: True, delivery)
    gate.touch()
    running.wait(lambda: running.log.results, delivery)

    assert running.log.result_of(delivery)[0] == SUCCEEDED


def test_process_that_ends_what_is_revoked_gives_back_what_it_held(
    start: Callable[[str], Running], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ended = delivery_of("spins", str(tmp_path / "begun"))
    behind = [delivery_of("adds", 1, number, cost_ns=1000) for number in range(3)]
    running = start("prefork")
    running.pool.send(0, [ended, *behind])
    ended.is_revoked = ended.is_to_end = True

    running.wait(lambda: running.log.results, ended)
    running.wait(lambda: len(running.log.returned) == 3)

    assert running.how(ended)
    assert running.log.returned == behind
    events = [getattr(record, "event", "") for record in caplog.records]
    assert events.count("pool.process_killed") == 1
    assert "pool.process_died" not in events


def test_what_cannot_be_killed_is_told_so_once(
    start: Callable[[str], Running], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    begun = tmp_path / "begun"
    ended = delivery_of("spins", str(begun))
    running = start("threads")
    running.pool.send(0, [ended])
    running.wait(begun.exists)
    ended.is_revoked = ended.is_to_end = True

    running.wait(lambda: running.log.results, ended)

    said = [record for record in caplog.records if vars(record).get("event") == "task.terminating"]
    assert len(said) == 1
    assert "a thread cannot be killed" in said[0].getMessage()
