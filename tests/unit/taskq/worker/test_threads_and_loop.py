"""The pools `threads` and `asyncio` with their real threads: who runs what, in which order, and when it is reported."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import Iterator, Sequence

import pytest

from taskq.app import App
from taskq.logs import LogPlan
from taskq.message import Envelope
from taskq.protocols import Record
from taskq.running.calling import Call
from taskq.running.executor import Executor
from taskq.running.runresult import SUCCEEDED, Result
from taskq.worker.delivery import Delivery
from taskq.worker.pools.aio import AsyncioPool
from taskq.worker.pools.threads import ThreadsPool
from tests.support.pools import PoolLog, delivery_of

PLAN = LogPlan(level=logging.WARNING, task_level=logging.WARNING, whole=False)
SECONDS = 5.0
"""For what comes at once."""

seen = contextvars.ContextVar("seen", default="nothing")


class Stage:
    """Tasks that say when they run, and wait for a gate; and the pools that run them."""

    def __init__(self) -> None:
        self.app = App("stage")
        self.gates: dict[str, threading.Event] = {}
        self.ran: list[str] = []
        self.log = PoolLog()
        self._pools: list[ThreadsPool] = []
        self._change = threading.Condition()
        self.app.task("plain")(self._plain)
        self.app.task("waits")(self._waits)
        self.app.task("blocks")(self._blocks)
        self.app.task("async")(self._async)
        self.app.task("awaits")(self._awaits)

    def start(self, kind: str, slots: int, executor: Executor | None = None) -> ThreadsPool:
        made = executor or Executor(self.app, PLAN)
        pool = ThreadsPool(slots, made) if kind == "threads" else AsyncioPool(slots, made)
        self._pools.append(pool)
        pool.start(self.log)
        return pool

    def gate(self, name: str) -> threading.Event:
        return self.gates.setdefault(name, threading.Event())

    def wait_for(self, name: str) -> None:
        """Wait until a task has begun."""
        with self._change:
            assert self._change.wait_for(lambda: name in self.ran, SECONDS), f"{name} did not run"

    def wait_reported(self, *deliveries: Delivery) -> None:
        def are_reported() -> bool:
            reported = [each for each, _ in self.log.results]
            return all(each in reported for each in deliveries)

        self.log.wait(are_reported, SECONDS)

    def close(self) -> None:
        for gate in self.gates.values():
            gate.set()
        for pool in self._pools:
            pool.shut_down()
        self.log.wait(lambda: not any(pool.unfinished() for pool in self._pools), SECONDS)

    def _note(self, name: str) -> None:
        with self._change:
            self.ran.append(name)
            self._change.notify_all()

    def _plain(self, name: str) -> None:
        self._note(name)

    def _waits(self, name: str) -> None:
        self._note(name)
        assert self.gate(name).wait(SECONDS)

    async def _blocks(self, name: str) -> None:
        """Hold up the loop."""
        self._waits(name)

    async def _async(self, name: str) -> None:
        self._note(name)

    async def _awaits(self, name: str) -> None:
        self._note(name)
        while not self.gate(name).is_set():  # noqa: ASYNC110 - the gate is opened by another thread
            await asyncio.sleep(0.001)


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()


in_both = pytest.mark.parametrize("kind", ["threads", "asyncio"])


def test_plain_functions_run_and_are_reported_while_a_task_blocks_the_loop(stage: Stage) -> None:
    pool = stage.start("asyncio", 2)
    pool.send(0, [delivery_of("blocks", "b")])
    stage.wait_for("b")
    plain = [delivery_of("plain", str(number)) for number in range(5)]

    pool.send(0, plain)
    stage.wait_reported(*plain)

    assert stage.ran == ["b", "0", "1", "2", "3", "4"]


@pytest.mark.parametrize("last", ["plain", "async"])
@pytest.mark.parametrize("ending", ["waits", "awaits"])
def test_slots_count_over_both_kinds(stage: Stage, ending: str, last: str) -> None:
    pool = stage.start("asyncio", 2)
    first = {kind: delivery_of(kind, kind) for kind in ("waits", "awaits")}
    pool.send(0, list(first.values()))
    stage.wait_for("waits")
    stage.wait_for("awaits")

    third = delivery_of(last, "third")
    pool.send(0, [third])
    before = list(stage.ran)
    stage.gate(ending).set()
    stage.wait_reported(third, first[ending])

    assert sorted(before) == ["awaits", "waits"]
    assert len(stage.log.results) == 2


def test_both_kinds_start_in_the_order_in_which_they_came(stage: Stage) -> None:
    pool = stage.start("asyncio", 1)
    kinds = ["plain", "async", "async", "plain", "plain", "async", "plain"]
    mixed = [delivery_of(kind, str(place)) for place, kind in enumerate(kinds)]

    pool.send(0, mixed)
    stage.wait_reported(*mixed)

    assert stage.ran == [str(place) for place in range(len(kinds))]
    assert {result[0] for _, result in stage.log.results} == {SUCCEEDED}


def test_coroutine_sees_nothing_of_what_a_function_before_it_left_in_its_thread(
    stage: Stage,
) -> None:
    found: list[str] = []

    @stage.app.task("leaves")
    def leaves() -> None:
        seen.set("another task's")

    @stage.app.task("looks")
    async def looks() -> None:
        found.append(seen.get())

    pool = stage.start("asyncio", 1)
    looking = delivery_of("looks")

    pool.send(0, [delivery_of("leaves"), looking])
    stage.wait_reported(looking)

    assert found == ["nothing"]


@in_both
def test_thread_goes_on_with_the_next_in_line(stage: Stage, kind: str) -> None:
    threads: set[threading.Thread] = set()
    stage.app.task("where")(lambda: threads.add(threading.current_thread()))
    pool = stage.start(kind, 1)
    deliveries = [delivery_of("where") for _ in range(4)]

    pool.send(0, deliveries)
    stage.wait_reported(*deliveries)

    assert len(threads) == 1


@in_both
def test_end_does_not_wait_for_a_task_behind_it_that_takes_longer_than_was_thought(
    stage: Stage, kind: str
) -> None:
    pool = stage.start(kind, 1)
    short = [delivery_of("plain", str(number), cost_ns=1000) for number in range(2)]
    slow = delivery_of("waits", "slow", cost_ns=1000)

    pool.send(0, [*short, slow])
    stage.wait_for("slow")
    pool.tick()

    assert [each for each, _ in stage.log.results] == short
    assert pool.unfinished() == [slow]


@in_both
def test_end_is_reported_before_a_task_begins_that_may_take_long(stage: Stage, kind: str) -> None:
    pool = stage.start(kind, 1)
    short, long = delivery_of("plain", "short", cost_ns=1000), delivery_of("waits", "long")

    pool.send(0, [short, long])
    stage.wait_for("long")

    assert [each for each, _ in stage.log.results] == [short]


class DeafLog(PoolLog):
    """Raises at the first report."""

    is_deaf = True

    def on_results(self, lane: int, results: Sequence[tuple[Delivery, Result]]) -> None:
        if self.is_deaf:
            self.is_deaf = False
            raise OSError("nobody listens")
        super().on_results(lane, results)


@in_both
def test_report_that_fails_keeps_nothing_from_running(
    stage: Stage, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    stage.log = DeafLog()
    pool = stage.start(kind, 1)
    first, second, third = (delivery_of("plain", name) for name in "abc")

    pool.send(0, [first, second, third])
    stage.wait_reported(second, third)

    assert stage.ran == ["a", "b", "c"]
    assert [getattr(record, "event", "") for record in caplog.records] == ["pool.failed"]


class ExitingExecutor(Executor):
    """Stands for a decoder of the app's that calls sys.exit."""

    def prepare(self, record: Record, envelope: Envelope | None = None) -> Call | Result:
        if b"bad" in (record.value or b""):
            raise SystemExit(5)
        return super().prepare(record, envelope)


@pytest.mark.parametrize("task", ["plain", "async"])
@in_both
def test_decoder_that_exits_is_the_failure_of_its_task(stage: Stage, kind: str, task: str) -> None:
    pool = stage.start(kind, 2, ExitingExecutor(stage.app, PLAN))
    bad, good = delivery_of(task, "bad"), delivery_of(task, "good")

    pool.send(0, [bad, good])
    stage.wait_reported(bad, good)

    assert (stage.log.result_of(bad)[3] or ())[:2] == ("failed", "SystemExit: 5")
    assert stage.log.result_of(good)[0] == SUCCEEDED


@in_both
def test_many_senders_at_once_lose_nothing(stage: Stage, kind: str) -> None:
    pool = stage.start(kind, 3)
    names = iter(["plain", "async"] * 20)
    batches = [[delivery_of(next(names), "x", cost_ns=1000) for _ in range(5)] for _ in range(8)]

    def send(place: int) -> None:
        for batch in batches[place::4]:
            pool.send(0, batch)

    senders = [threading.Thread(target=send, args=(place,)) for place in range(4)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    stage.log.wait(lambda: len(stage.log.results) == 40, SECONDS)

    assert {each for each, _ in stage.log.results} == {each for batch in batches for each in batch}
    assert not pool.unfinished()


@in_both
def test_a_pool_that_gets_no_thread_says_so(
    stage: Stage, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = stage.start(kind, 2)

    def refuse(call: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(pool._crew, "submit", refuse)
        deliveries = [delivery_of("plain", "a"), delivery_of("plain", "b")]
        pool.send(0, deliveries)

    assert pool.broken == "no thread can be started: can't start new thread"
    assert pool.unfinished() == deliveries
    pool._report([(each, (SUCCEEDED, 0.0, None, None)) for each in deliveries])


@in_both
def test_what_has_ended_is_reported_when_a_pool_is_killed(stage: Stage, kind: str) -> None:
    pool = stage.start(kind, 1)
    ended = delivery_of("plain", "ended", cost_ns=1000)
    running = delivery_of("waits", "running", cost_ns=1000)
    pool._reports._reported = float("inf")  # as if the last report had just been

    pool.send(0, [ended, running])
    stage.wait_for("running")
    before = pool.unfinished()
    pool.kill()

    assert before == [ended, running]
    assert pool.unfinished() == [running]
