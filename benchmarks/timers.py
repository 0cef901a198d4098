"""(g) Tasks that wait for their time: how late they are; and how long an heir of many of them takes."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from time import perf_counter

from benchmarks.drivers import PATIENCE, Celery, DelayDriver, Taskq
from benchmarks.rows import Row, percentile
from benchmarks.runs import quiet_processes, wait_done
from benchmarks.tally import read
from benchmarks.tree import cpu_seconds, family, pss_mb
from taskq.message import Writer, new_task_id
from taskq.protocols import Outgoing
from taskq.timing.delays import When
from taskq.timing.shards import Write
from tests.support.processes import Process, Processes
from tests.support.waiting import Deadline, pause

PUNCTUAL = "benchmark.punctual"
RATE = 2000
"""Tasks that are due in a second."""

LEAD = 3.0
"""Seconds between the end of sending and the first that is due."""

CHUNK = 5000


def delays(driver: DelayDriver, count: int) -> Iterator[Row]:
    """Measure how late tasks with an eta start, `RATE` a second, all sent before the first is due."""
    with quiet_processes() as (processes, times):
        worker = driver.worker(processes, times, pool="prefork", concurrency=2)
        driver.send(PUNCTUAL, 0.0)
        wait_done(driver)
        driver.send_at(PUNCTUAL, [_now() + 1.0] * 10, is_counted=False)
        pause(1.0)
        wait_done(driver)  # what the first ones cost is not measured
        started = perf_counter()
        first = _now() + LEAD + count / driver.delayed_rate
        driver.send_at(PUNCTUAL, [first + number / RATE for number in range(count)])
        assert _now() < first, f"{driver.name}: sending took {perf_counter() - started:.0f} s"
        pause(max(0.0, first - _now()))
        before = cpu_seconds(family(worker.pid))
        pause(count / RATE)
        cpu = cpu_seconds(family(worker.pid)) - before
        pause(2.0)
        wait_done(driver)
        worker.stop()
        late = [1000 * each for each in read(times).delays]
    name = f"{count:,} tasks with an eta, {RATE:,} due a second, ms from the eta to the start"
    yield Row(name, driver.name, "p50", percentile(late, 0.5))
    yield Row(name, driver.name, "p99", percentile(late, 0.99))
    yield Row(name, driver.name, "max", max(late))
    yield Row(name, driver.name, "early", sum(each < 0 for each in late))
    yield Row(name, driver.name, "missing", count - len(late))
    yield Row(name, driver.name, "cores used by the worker", cpu / (count / RATE))


def _now() -> float:
    return time.time()  # noqa: TID251 - against the eta


def all_delays(bootstrap: str, redis: str | None, count: int) -> Iterator[Row]:
    """Measure taskq and Celery on Redis, whose worker keeps what waits in its memory."""
    yield from delays(Taskq(bootstrap), count)
    if redis is not None:
        yield from delays(Celery(redis), count)


OWNS = re.compile(r"this process owns the partitions (.*)$", re.M)
READ = re.compile(r"\[(\d+)\] is read to its end")


def take_over(bootstrap: str, count: int) -> Iterator[Row]:
    """Measure how long a worker takes to have read `count` waiting tasks, and one that follows another which was killed."""
    driver = Taskq(bootstrap, prefix=True)
    writer, due = Writer(PUNCTUAL), datetime.fromtimestamp(_now() + 86_400, tz=timezone.utc)
    when = When(eta=due)
    for start in range(0, count, CHUNK):
        writes = []
        for _ in range(min(CHUNK, count - start)):
            id = new_task_id()
            value, headers = writer.write(id, (0.0,), {}, headers=when.headers)
            message = Outgoing(driver.queue, value, headers)
            write = when.outgoing(message, id, datetime.fromtimestamp(0, tz=timezone.utc))
            assert isinstance(write, Write)
            writes.append(write)
        errors = driver.app.broker.logs.append(writes, timeout=PATIENCE)
        assert not any(errors), next(filter(None, errors))
    name = f"{count:,} waiting tasks"
    with quiet_processes() as (processes, times):
        begun = perf_counter()
        keeper = _keeper(driver, processes, times)
        _wait_read(keeper)
        yield Row(name, "a worker's start", "s until all are read", perf_counter() - begun)
        yield Row(name, "a worker's start", "MB (PSS)", pss_mb(family(keeper.pid)))
        heir = _keeper(driver, processes, times)
        heir.wait_for_line(r"worker: ready", timeout=60)
        pause(5.0)
        keeper.kill_all()
        begun = perf_counter()
        _wait_read(heir)
        yield Row(name, "an heir after kill -9", "s until all are read", perf_counter() - begun)
        yield Row(name, "an heir after kill -9", "MB (PSS)", pss_mb(family(heir.pid)))


def _keeper(driver: Taskq, processes: Processes, times: Path) -> Process:
    options = ["-A", "benchmarks.systems.taskq_app", "-P", "threads", "-c", "1", "-l", "debug"]
    env = {**driver.environment, "BENCHMARK_TIMES": str(times)}
    return processes.taskq("worker", *options, env=env)


def _wait_read(process: Process) -> None:
    """Wait until a process has read all partitions to their ends."""
    deadline = Deadline(PATIENCE)
    while len(set(READ.findall(process.text))) < 16:
        assert not deadline.is_over, f"only {len(set(READ.findall(process.text)))} were read"
        pause(0.02)
