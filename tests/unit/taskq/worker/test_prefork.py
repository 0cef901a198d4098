"""The pool of processes, with processes and threads of the test's own: what happens between two steps of theirs."""

from __future__ import annotations

import os
import selectors
import socket
from collections.abc import Iterator
from typing import Any, cast

import pytest

from taskq.clock import SystemClock
from taskq.running.runresult import REVOKED
from taskq.worker.dispatcher import Dispatcher
from taskq.worker.pools.child import ChildSetup
from taskq.worker.pools.childlink import ChildLink
from taskq.worker.pools.childstate import DONE, STARTED, ChildState
from taskq.worker.pools.prefork import PreforkPool
from taskq.worker.pools.wire import frame
from tests.support.pools import PoolLog, delivery_of


class DeadProcess:
    """What is shown of a process that was killed."""

    pid = 2**30  # more than any system gives
    exitcode = -9

    def __init__(self) -> None:
        self.sentinel, self._write_end = os.pipe()

    def join(self, timeout: float) -> None:
        """Return at once."""

    def is_alive(self) -> bool:
        return False

    def close(self) -> None:
        os.close(self.sentinel)
        os.close(self._write_end)


class Bench:
    """A pool of one lane whose two threads do not run: the test is them."""

    def __init__(self) -> None:
        setup = ChildSetup(cast("Any", None), cast("Any", None))  # for children, and there is none
        self.pool = PreforkPool(1, setup, [], SystemClock())
        self.dispatcher = Dispatcher(
            self.pool, claim_ahead=64, conclude=lambda results: None, clock=SystemClock()
        )
        self.pool._events = self.dispatcher
        self.dispatcher.on_lane(0, is_open=False)
        self.process = DeadProcess()
        mine, self.theirs = socket.socketpair()
        self.link = ChildLink(0, self.process, mine, ChildState.new(), is_copy=True)
        self.pool._children[0] = self.link
        for end in (self.link, self.process.sentinel):
            self.pool._selector.register(end, selectors.EVENT_READ, self.link)

    def close(self) -> None:
        self.theirs.close()
        self.link.close()
        self.process.close()
        self.pool._selector.close()
        self.pool._starter.close()
        self.pool._bell.close()
        self.pool._bell_handle.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


def test_child_that_dies_before_its_ready_is_read_leaves_its_lane_closed(bench: Bench) -> None:
    bench.theirs.sendall(frame(("ready", "")))

    bench.pool._bury(bench.link)

    assert bench.dispatcher.free == 0
    assert not bench.pool.is_ready


def test_why_a_child_failed_is_read_also_after_its_death(bench: Bench) -> None:
    bench.theirs.sendall(frame(("failed", "OSError: no licence")))

    bench.pool._bury(bench.link)

    assert bench.link.failure == "OSError: no licence"


def test_what_is_sent_to_a_lane_without_a_child_comes_back_once_and_waits(bench: Bench) -> None:
    bench.pool._children[0] = None
    bench.dispatcher.on_lane(0, is_open=True)
    delivery = delivery_of("a")
    bench.dispatcher.reserve("q", [delivery])

    bench.dispatcher.hand_out([delivery])
    sent = bench.dispatcher.unfinished()
    bench.pool._answer()

    assert sent == [delivery]
    assert bench.dispatcher.unfinished() == [delivery]
    assert not bench.pool.unfinished()
    assert bench.dispatcher.free == 0


def test_waits_between_starts_grow_to_ten_seconds_and_no_more(bench: Bench) -> None:
    starter = bench.pool._starter
    waits = []
    for failures in (1, 2, 3, 6, 7, 100_000):
        starter._failures = failures
        waits.append(starter._backoff())

    assert waits == [0.2, 0.4, 0.8, 6.4, 10.0, 10.0]


def test_failure_of_the_starting_thread_breaks_the_pool_with_its_reason(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(lane: int) -> ChildLink:
        raise RuntimeError("a bug")

    starter = bench.pool._starter
    monkeypatch.setattr(starter, "_started", fail)
    starter.want(0)
    starter.stop()

    starter._run()

    assert bench.pool.broken == "pool processes cannot be started: RuntimeError: a bug"


def test_revoked_task_in_a_childs_hand_comes_back_with_what_it_has_not_started(
    bench: Bench,
) -> None:
    running, revoked, other = delivery_of("a"), delivery_of("a"), delivery_of("a")
    bench.link.hand_over([running, revoked, other])
    bench.link._state[STARTED] = 1
    told = PoolLog()
    bench.pool._events = told

    bench.pool.drop([revoked])

    assert told.returned == [revoked, other]
    assert bench.pool.unfinished() == [running]


def test_process_is_killed_for_a_revoked_task_only_while_it_runs(bench: Bench) -> None:
    first, revoked = delivery_of("a"), delivery_of("a")
    revoked.is_revoked = revoked.is_to_end = True
    bench.link.hand_over([first, revoked])
    bench.link._state[STARTED] = 1
    bench.pool._events = told = PoolLog()

    bench.pool.drop([revoked])  # it waits behind the first
    bench.link.hand_over([revoked])
    bench.link._state[DONE], bench.link._state[STARTED] = 1, 3
    before = bench.link.ended_after
    bench.pool.drop([revoked])
    bench.pool._bury(bench.link)

    assert before is None
    assert bench.link.ended_after is not None
    kind, _, _, detail = told.result_of(revoked)
    assert kind == REVOKED
    assert detail is not None
    assert "was killed by signal 9" in str(detail[1])


def test_revoked_task_that_is_not_to_end_runs_on(bench: Bench) -> None:
    running = delivery_of("a")
    running.is_revoked = True
    bench.link.hand_over([running])
    bench.link._state[STARTED] = 1

    bench.pool.drop([running])

    assert bench.link.ended_after is None
    assert bench.pool.unfinished() == [running]
