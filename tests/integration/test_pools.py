"""The pools with real processes and threads, and without a broker."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import pytest

from taskq.app import App
from taskq.clock import Clock, SystemClock
from taskq.logs import LogPlan
from taskq.running.calling import Call
from taskq.running.executor import Executor
from taskq.running.runresult import FAILED, IGNORED, SUCCEEDED, Result
from taskq.sources import Sources
from taskq.worker.delivery import Delivery
from taskq.worker.dispatcher import Dispatcher
from taskq.worker.poolfactory import load_pool_app
from taskq.worker.pools import nursery
from taskq.worker.pools.aio import AsyncioPool
from taskq.worker.pools.child import ChildSetup
from taskq.worker.pools.prefork import PreforkPool
from taskq.worker.pools.protocol import Pool
from taskq.worker.pools.solo import SoloPool
from taskq.worker.pools.threads import ThreadsPool
from tests.support.pool_tasks import app
from tests.support.pools import PoolLog, delivery_of
from tests.support.processes import process_table
from tests.support.waiting import wait_until

PLAN = LogPlan(level=logging.INFO, task_level=logging.INFO, whole=False)
MODULE = "tests.support.pool_tasks:app"

Start = Callable[[str, int], tuple[Pool, PoolLog]]


class HurriedClock(SystemClock):
    """Does not wait."""

    def wait(self, event: threading.Event, timeout: float | None) -> bool:
        return event.is_set()


def _prefork(slots: int, module: str = MODULE, *, clock: Clock | None = None) -> PreforkPool:
    setup = ChildSetup(partial(load_pool_app, (module,), Sources()), PLAN)
    return PreforkPool(slots, setup, [module.partition(":")[0]], clock or SystemClock())


def _make(kind: str, slots: int) -> Pool:
    if kind == "prefork":
        return _prefork(slots)
    app.adopt(Sources())
    return _make_in_process(kind, slots, Executor(app, PLAN))


def _make_in_process(kind: str, slots: int, executor: Executor) -> Pool:
    if kind == "threads":
        return ThreadsPool(slots, executor)
    return AsyncioPool(slots, executor) if kind == "asyncio" else SoloPool(executor)


def _end(pool: Pool) -> None:
    pool.shut_down()
    pool.serve()
    wait_until(lambda: pool.is_down, timeout=60, what="the pool to end")


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a pool and waits until it is ready; kills at the end what the test left."""
    pools: list[Pool] = []

    def start(kind: str, slots: int) -> tuple[Pool, PoolLog]:
        pool, log = _make(kind, slots), PoolLog()
        pools.append(pool)
        pool.start(log)
        log.wait(lambda: log.open and all(log.open.values()))
        return pool, log

    yield start
    for pool in pools:
        if isinstance(pool, PreforkPool):
            pool.kill()
        elif not pool.is_down:
            _end(pool)


@pytest.fixture
def prefork() -> Iterator[Callable[..., PreforkPool]]:
    """Makes a pool as `_prefork` does and kills it at the end, with what its tasks still wait for."""
    pools: list[PreforkPool] = []

    def make(*args: Any, **kwargs: Any) -> PreforkPool:
        pools.append(_prefork(*args, **kwargs))
        return pools[-1]

    yield make
    for pool in pools:
        pool.kill()


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


@pytest.mark.parametrize("kind", ["prefork", "threads", "asyncio", "solo"])
class TestEveryPool:
    """What holds in each pool."""

    def test_tasks_run_and_are_reported(self, start: Start, kind: str, tmp_path: Path) -> None:
        pool, log = start(kind, 1)
        file = tmp_path / "notes"
        deliveries = [delivery_of("note", str(file), str(n)) for n in range(40)]

        pool.send(0, deliveries)
        _end(pool)

        assert _lines(file) == [str(n) for n in range(40)]
        assert [result[0] for _, result in log.results] == [SUCCEEDED] * 40
        assert not pool.unfinished()

    def test_async_tasks_run(self, start: Start, kind: str, tmp_path: Path) -> None:
        pool, _log = start(kind, 1)

        pool.send(0, [delivery_of("sleeps", str(tmp_path / "notes"), "a") for _ in range(3)])
        _end(pool)

        assert _lines(tmp_path / "notes") == ["a"] * 3

    def test_failures_say_what_went_wrong_and_the_pool_lives(self, start: Start, kind: str) -> None:
        pool, log = start(kind, 1)
        failed, exited = delivery_of("fails"), delivery_of("exits")
        ignored, rejected = delivery_of("ignores"), delivery_of("rejects")
        wrong, good = delivery_of("adds", 1), delivery_of("adds", 1, 2)

        pool.send(0, [failed, exited, ignored, rejected, wrong, good])
        _end(pool)

        code, _, line, detail = log.result_of(failed)
        assert code == FAILED
        assert detail is not None
        assert detail[:2] == ("failed", "ValueError: no luck")
        assert "pool_tasks.py" in detail[2]
        assert "executor.py" not in detail[2]
        assert line is not None
        assert line.startswith(f"task fails[{failed.envelope.id}] failed in ")
        assert line.endswith(
            f"s: ValueError: no luck (dead letter: taskq dlq show {failed.source})"
        )
        assert (log.result_of(exited)[3] or ())[:2] == ("failed", "SystemExit: 3")
        assert log.result_of(ignored)[0] == IGNORED
        assert (log.result_of(rejected)[3] or ())[:2] == ("rejected", "Reject: broken invoice")
        assert (log.result_of(wrong)[3] or ("",))[0] == "bad_arguments"
        assert log.result_of(good)[0] == SUCCEEDED

    def test_the_request_is_current(self, start: Start, kind: str, tmp_path: Path) -> None:
        pool, _log = start(kind, 1)
        delivery = delivery_of("bound", str(tmp_path / "notes"), id="abc")

        pool.send(0, [delivery])
        _end(pool)

        assert _lines(tmp_path / "notes") == [f"abc bound {delivery.source}"]

    def test_hooks_run_once_in_each_process(
        self, start: Start, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("POOL_TASKS_HOOKS", str(tmp_path / "hooks"))
        pool, _log = start(kind, 1)

        _end(pool)

        monkeypatch.undo()
        assert _lines(tmp_path / "hooks") == ["init", "shutdown"]


def test_async_tasks_run_side_by_side_on_one_loop(start: Start, tmp_path: Path) -> None:
    pool, log = start("asyncio", 3)
    file = str(tmp_path / "notes")

    pool.send(0, [delivery_of("meets", file, str(n), 3) for n in range(3)])
    log.wait(lambda: len(log.results) == 3)

    assert {result[0] for _, result in log.results} == {SUCCEEDED}


def test_an_exit_that_a_task_left_on_the_loop_does_not_end_it(
    start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pool, log = start("asyncio", 1)
    leaving, after = delivery_of("leaves_an_exit"), delivery_of("sleeps", str(tmp_path / "n"), "a")

    pool.send(0, [leaving, after])
    log.wait(lambda: len(log.results) == 2)
    _end(pool)

    assert log.result_of(leaving)[0] == SUCCEEDED
    assert log.result_of(after)[0] == SUCCEEDED
    (line,) = _events(caplog, "pool.interrupted")
    assert "SystemExit: 4" in line


def test_an_async_task_that_is_cancelled_before_it_begins_is_a_failure(start: Start) -> None:
    pool, log = start("asyncio", 2)
    cancelling, cancelled = delivery_of("cancels_all"), delivery_of("meets", "", "", 2)

    pool.send(0, [cancelling, cancelled])
    log.wait(lambda: len(log.results) == 2)

    detail = log.result_of(cancelled)[3]
    assert detail is not None
    assert detail[:2] == ("failed", "CancelledError")


class BrokenExecutor(Executor):
    """Raises what it should have caught."""

    def run(self, call: Call) -> NoReturn:
        raise SystemExit(5)


@pytest.mark.parametrize("kind", ["threads", "asyncio", "solo"])
def test_what_escapes_from_a_run_is_its_failure_and_the_pool_goes_on(kind: str) -> None:
    app.adopt(Sources())
    executor = BrokenExecutor(app, PLAN)
    pool = _make_in_process(kind, 1, executor)
    log, deliveries = PoolLog(), [delivery_of("adds", 1, n) for n in range(3)]

    pool.start(log)
    pool.send(0, deliveries)
    _end(pool)

    for delivery in deliveries:
        assert (log.result_of(delivery)[3] or ())[:2] == ("failed", "SystemExit: 5")


@pytest.mark.parametrize("kind", ["threads", "asyncio", "solo"])
def test_a_shutdown_hook_that_exits_does_not_keep_a_pool_from_its_end(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    hooked = App("hooked")
    hooked.on("worker_process_shutdown")(_exit_now)
    executor = Executor(hooked, PLAN)
    pool = _make_in_process(kind, 1, executor)

    pool.start(PoolLog())
    _end(pool)

    assert len(_events(caplog, "hook.failed")) == 1


def _exit_now() -> NoReturn:
    raise SystemExit(6)


def test_asyncio_runs_no_more_at_a_time_than_it_has_slots(start: Start, tmp_path: Path) -> None:
    pool, log = start("asyncio", 1)
    begun, go = tmp_path / "begun", tmp_path / "go"
    waiting = [delivery_of("waits_for_file", str(begun), str(go)) for _ in range(2)]

    pool.send(0, waiting)
    wait_until(lambda: _lines(begun), timeout=60, what="the first task")
    begun_before = len(_lines(begun))
    go.touch()
    log.wait(lambda: len(log.results) == 2)

    assert begun_before == 1


def test_a_task_that_kills_its_process_is_a_failure_and_the_rest_comes_back(start: Start) -> None:
    pool, log = start("prefork", 1)
    before, deadly = delivery_of("adds", 1, 2, cost_ns=1), delivery_of("is_killed", cost_ns=1)
    after = [delivery_of("adds", n, n, cost_ns=1) for n in range(5)]

    pool.send(0, [before, deadly, *after])
    log.wait(lambda: len(log.results) == 2 and len(log.returned) == 5)

    assert log.result_of(before)[0] == SUCCEEDED
    code, _, _, detail = log.result_of(deadly)
    assert code == FAILED
    assert detail is not None
    assert detail[0] == "worker_died"
    assert "killed by signal 9 (SIGKILL)" in detail[1]
    assert log.returned == after


def test_a_task_that_exits_the_process_is_a_failure(start: Start) -> None:
    pool, log = start("prefork", 1)
    deadly = delivery_of("dies", 7)

    pool.send(0, [deadly])
    log.wait(lambda: log.results)

    detail = log.result_of(deadly)[3]
    assert detail is not None
    assert detail[0] == "worker_died"
    assert "ended with exit code 7" in detail[1]


@pytest.mark.parametrize("way", ["copy", "spawn"])
@pytest.mark.parametrize("task", ["leaves_a_program_and_dies", "leaves_a_process_and_dies"])
def test_a_death_is_noticed_while_something_the_task_started_lives(
    prefork: Callable[..., PreforkPool], way: str, task: str, tmp_path: Path
) -> None:
    pool, log, pids = prefork(1), PoolLog(), tmp_path / "pids"
    if way == "spawn":
        pool._starter._processes.stop_copying()
    pool.start(log)
    log.wait(lambda: log.open.get(0))
    deadly, after = delivery_of(task, str(pids), 3), delivery_of("adds", 1, 2)

    pool.send(0, [deadly])
    try:
        _tick_until(pool, lambda: log.results and log.open[0])
        pool.send(0, [after])
        log.wait(lambda: len(log.results) == 2)
        left = [int(pid) for pid in _lines(pids) if _lives(int(pid))]
    finally:
        for pid in _lines(pids):
            os.kill(int(pid), signal.SIGKILL)

    detail = log.result_of(deadly)[3]
    assert detail is not None
    assert detail[0] == "worker_died"
    assert "ended with exit code 3" in detail[1]
    assert log.result_of(after)[0] == SUCCEEDED
    assert len(left) == 1


@pytest.mark.parametrize("way", ["copy", "spawn"])
def test_programs_that_tasks_start_inherit_nothing_of_the_pool(
    prefork: Callable[..., PreforkPool], way: str, tmp_path: Path
) -> None:
    pool, log, inherited = prefork(1), PoolLog(), tmp_path / "inherited"
    if way == "spawn":
        pool._starter._processes.stop_copying()
    pool.start(log)
    log.wait(lambda: log.open.get(0))

    pool.send(0, [delivery_of("notes_inheritable", str(inherited))])
    log.wait(lambda: log.results)

    assert set(_lines(inherited)) == {"0", "1", "2"}


def _tick_until(pool: Pool, look: Callable[[], object]) -> None:
    def tick() -> object:
        pool.tick()
        return look()

    wait_until(tick, timeout=60, what="what a tick brings")


def _lives(pid: int) -> bool:
    return any(entry.pid == pid and not entry.is_zombie for entry in process_table())


def test_a_dead_child_is_replaced(start: Start, tmp_path: Path) -> None:
    pool, log = start("prefork", 1)

    pool.send(0, [delivery_of("dies", 1)])
    log.wait(lambda: log.results and log.open[0])
    pool.send(0, [delivery_of("pid", str(tmp_path / "pids"))])
    log.wait(lambda: len(log.results) == 2)

    assert len(_lines(tmp_path / "pids")) == 1


def test_a_child_killed_from_outside_between_tasks_loses_nothing(start: Start) -> None:
    pool, log = start("prefork", 1)
    assert isinstance(pool, PreforkPool)

    (first,) = pool.pids()
    os.kill(first, signal.SIGKILL)
    # Not first for the lane to be closed: it may be open again before anybody looks.
    log.wait(lambda: log.open[0] and first not in pool.pids())

    assert not log.results
    assert not log.returned


def test_what_waits_behind_a_slow_task_is_called_back_and_does_not_run_there(
    start: Start, tmp_path: Path
) -> None:
    pool, log = start("prefork", 1)
    begun, go, notes = tmp_path / "begun", tmp_path / "go", tmp_path / "notes"
    slow = delivery_of("waits_for_file", str(begun), str(go), cost_ns=1)
    behind = [delivery_of("note", str(notes), str(n), cost_ns=1) for n in range(3)]

    pool.send(0, [slow, *behind])
    wait_until(lambda: _lines(begun), timeout=60, what="the slow task")

    def is_recalled() -> bool:
        pool.tick()
        return len(log.returned) == 3

    wait_until(is_recalled, timeout=60, what="the call-back")
    go.touch()
    log.wait(lambda: len(log.results) == 1)
    last = delivery_of("note", str(notes), "last")
    pool.send(0, [last])
    log.wait(lambda: len(log.results) == 2)

    assert log.returned == behind
    assert log.slow == [slow]
    assert _lines(notes) == ["last"]


def test_a_changed_working_directory_is_put_back(start: Start, tmp_path: Path) -> None:
    pool, log = start("prefork", 1)

    pool.send(0, [delivery_of("changes_directory"), delivery_of("where", str(tmp_path / "where"))])
    log.wait(lambda: len(log.results) == 2)

    assert _lines(tmp_path / "where") != ["/"]


def test_a_leaked_thread_does_not_hold_up_the_end(start: Start) -> None:
    pool, log = start("prefork", 1)

    pool.send(0, [delivery_of("leaks_a_thread")])
    log.wait(lambda: log.results)
    _end(pool)

    assert pool.is_down


def test_children_take_no_notice_of_stop_signals(start: Start, tmp_path: Path) -> None:
    pool, log = start("prefork", 1)
    assert isinstance(pool, PreforkPool)
    begun, go = tmp_path / "begun", tmp_path / "go"
    running = delivery_of("waits_for_file", str(begun), str(go))

    pool.send(0, [running])
    wait_until(lambda: _lines(begun), timeout=60, what="the task")
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(pool.pids()[0], number)
    go.touch()
    log.wait(lambda: log.results)

    assert log.result_of(running)[0] == SUCCEEDED


def test_large_values_reach_a_child(start: Start, tmp_path: Path) -> None:
    pool, log = start("prefork", 1)
    text = "x" * 3_000_000

    pool.send(0, [delivery_of("note", str(tmp_path / "notes"), text)])
    log.wait(lambda: log.results)

    assert _lines(tmp_path / "notes") == [text]


def test_a_start_hook_that_raises_breaks_the_pool_with_its_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("POOL_TASKS_BREAK", "1")
    pool, log = _prefork(1), PoolLog()

    pool.start(log)
    why = wait_until(lambda: pool.broken or "", timeout=60, what="the pool to give up")
    pool.kill()
    monkeypatch.undo()

    assert "hook worker_process_init" in why
    assert "the hook does not like it here" in why


def test_a_pool_that_was_ready_once_tries_again_for_ever_and_the_others_run_on(
    prefork: Callable[..., PreforkPool],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    refusal, begun, go = tmp_path / "refusal", tmp_path / "begun", tmp_path / "go"
    monkeypatch.setenv("POOL_TASKS_REFUSE_WHILE", str(refusal))
    pool, log = prefork(2, clock=HurriedClock()), PoolLog()
    pool.start(log)
    log.wait(lambda: sorted(log.open.items()) == [(0, True), (1, True)])
    running, deadly = delivery_of("waits_for_file", str(begun), str(go)), delivery_of("dies", 1)
    pool.send(1, [running])

    refusal.touch()
    pool.send(0, [deadly])
    wait_until(lambda: len(_events(caplog, "pool.start_failed")) >= 6, timeout=60, what="6 tries")
    broken = pool.broken
    refusal.unlink()
    log.wait(lambda: log.open[0])
    go.touch()
    log.wait(lambda: len(log.results) == 2)
    pool.kill()
    monkeypatch.undo()

    assert broken is None
    assert log.result_of(running)[0] == SUCCEEDED
    for line in _events(caplog, "pool.start_failed"):
        assert re.search(r"the database restarts; it is tried again in \d+\.\d s", line)


class BrokenLog(PoolLog):
    """Cannot take the results of lane 0."""

    def on_results(self, lane: int, results: Sequence[tuple[Delivery, Result]]) -> None:
        if lane == 0:
            raise RuntimeError("a bug")
        super().on_results(lane, results)


def test_a_failure_while_results_are_taken_breaks_the_pool_and_others_can_end(
    prefork: Callable[..., PreforkPool], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pool, log = prefork(2), BrokenLog()
    begun, go = tmp_path / "begun", tmp_path / "go"
    other = delivery_of("waits_for_file", str(begun), str(go))
    pool.start(log)
    log.wait(lambda: sorted(log.open.items()) == [(0, True), (1, True)])
    pool.send(1, [other])

    pool.send(0, [delivery_of("adds", 1, 2)])
    why = wait_until(lambda: pool.broken, timeout=60, what="the pool to break")
    go.touch()
    log.wait(lambda: log.results)

    assert why == "results of pool processes cannot be taken: RuntimeError: a bug"
    assert log.result_of(other)[0] == SUCCEEDED
    assert len(_events(caplog, "pool.failed")) == 1


def _events(caplog: pytest.LogCaptureFixture, event: str) -> list[str]:
    """Return the texts of the lines of an event."""
    return [r.getMessage() for r in caplog.records if getattr(r, "event", "") == event]


def test_modules_that_leave_a_thread_are_named_and_imported_in_each_child(
    prefork: Callable[..., PreforkPool], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    pool, log = prefork(1), PoolLog()
    end.set()
    thread.join()

    pool.start(log)
    log.wait(lambda: log.open.get(0))
    pool.send(0, [delivery_of("note", str(tmp_path / "notes"), "ran")])
    log.wait(lambda: log.results)

    assert _lines(tmp_path / "notes") == ["ran"]
    (warning,) = _events(caplog, "pool.preload_refused")
    assert "module tests.support.pool_tasks leaves thread" in warning


def test_a_process_that_a_dying_nursery_has_made_gets_nothing(
    prefork: Callable[..., PreforkPool], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def die(_nursery: object, _number: int) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patched:
        patched.setattr(nursery._Nursery, "_answer", die)
        pool, log = prefork(1), PoolLog()
    deliveries = [delivery_of("note", str(tmp_path / "notes"), str(n)) for n in range(6)]

    pool.start(log)
    log.wait(lambda: log.open.get(0))
    pool.send(0, deliveries)
    log.wait(lambda: len(log.results) == 6)

    assert _lines(tmp_path / "notes") == [str(n) for n in range(6)]


def test_a_process_that_a_task_forks_can_be_terminated(start: Start, tmp_path: Path) -> None:
    pool, log = start("prefork", 1)

    pool.send(0, [delivery_of("terminates_its_process", str(tmp_path / "notes"))])
    log.wait(lambda: log.results)

    assert _lines(tmp_path / "notes") == [str(-signal.SIGTERM)]


def test_children_killed_under_load_run_nothing_twice_and_lose_only_what_ran(
    tmp_path: Path,
) -> None:
    pool, log = _prefork(2), PoolLog()
    clock, notes = SystemClock(), tmp_path / "notes"
    dispatcher = Dispatcher(
        pool, claim_ahead=64, conclude=lambda results: log.on_results(0, results), clock=clock
    )
    waiting = [delivery_of("note", str(notes), str(n)) for n in range(6000)]
    total, kills, next_kill = len(waiting), 0, 300
    pool.start(dispatcher)

    while waiting:
        version = dispatcher.version
        grants = dispatcher.reserve("q", waiting)
        if grants:
            batch = waiting[: grants[-1].stop]
            del waiting[: len(batch)]
            dispatcher.hand_out(batch)
        else:
            dispatcher.wait_for_change(version, 0.05)
        pool.tick()
        if total - len(waiting) >= next_kill:
            next_kill += 300
            for pid in pool.pids()[:1]:
                with contextlib.suppress(ProcessLookupError):  # killed before, and not missed yet
                    os.kill(pid, signal.SIGKILL)
                    kills += 1
    log.wait(lambda: len(log.results) == total)
    pool.kill()

    died = [delivery for delivery, result in log.results if result[0] == FAILED]
    ran = _lines(notes)
    assert len({id(delivery) for delivery, _ in log.results}) == total
    assert len(ran) == len(set(ran))
    assert len(died) <= kills
    assert total - len(died) <= len(ran) <= total


@pytest.mark.parametrize("then", ["", "starter.stop_copying()"])
def test_a_process_does_not_run_the_program_again(then: str, tmp_path: Path) -> None:
    script = tmp_path / "program"
    script.write_text(
        "import functools, socket\n"
        "from taskq.worker.pools.child import ChildSetup\n"
        "from taskq.worker.pools.childstate import ChildState\n"
        "from taskq.worker.pools.processes import ProcessStarter\n"
        "print('program', flush=True)\n"
        "if __name__ == '__main__':\n"
        "    starter = ProcessStarter(ChildSetup(functools.partial(print, 'process'), None), [])\n"
        f"    {then}\n"
        "    mine, theirs = socket.socketpair()\n"
        "    starter.start(theirs, ChildState.new()).join(20)\n"
    )

    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["program", "process"]
