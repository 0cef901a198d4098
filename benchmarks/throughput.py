"""(a) Tasks that do nothing, sent first, then worked off by one worker; and (d) tasks that only wait."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.claim_loop import claim_loop
from benchmarks.drivers import Celery, Driver, Taskq
from benchmarks.rows import Row
from benchmarks.runs import work_off

NOOP = "benchmark.noop"
ASYNC_NOOP = "benchmark.anoop"
LATE_NOOP = "benchmark.late_noop"


def throughput(
    driver: Driver, *, pool: str, concurrency: int, count: int, system: str, task: str = NOOP
) -> Iterator[Row]:
    """Measure tasks a second from the first start to the last end, processor time and memory.

    The processor time of a start with one task is taken off, and that start is measured, too.
    """
    driver.send(task, 0, "a few letters")
    start = work_off(driver, pool=pool, concurrency=concurrency)
    driver.send_many(task, [(number, "a few letters") for number in range(count)])
    run = work_off(driver, pool=pool, concurrency=concurrency)
    assert run.tally.runs == count, f"{driver.name}: {run.tally.runs} of {count} tasks ran"
    name = f"throughput, {count:,} no-op tasks, -c {concurrency}"
    yield Row(name, system, "tasks/s", count / (run.tally.last - run.tally.first))
    yield Row(name, system, "CPU s per 1,000", 1000 * (run.cpu - start.cpu) / count)
    yield Row(name, system, "MB (PSS)", run.pss)
    yield Row(name, system, "start to first task, s", start.tally.first - start.started)


def all_systems(bootstrap: str, redis: str | None, count: int) -> Iterator[Row]:
    """Measure every pool of taskq, Celery on Redis, and the bare client with the same commits."""
    for concurrency in (2, 8):
        driver = Taskq(bootstrap)
        yield from throughput(
            driver, pool="prefork", concurrency=concurrency, count=count, system="taskq prefork"
        )
        seconds, cpu = claim_loop(bootstrap, driver.queue, count)
        name = f"throughput, {count:,} no-op tasks, -c {concurrency}"
        yield Row(name, "bare client, claims only", "tasks/s", count / seconds)
        yield Row(name, "bare client, claims only", "CPU s per 1,000", 1000 * cpu / count)
        for pool in ("threads", "asyncio"):
            yield from throughput(
                Taskq(bootstrap),
                pool=pool,
                concurrency=concurrency,
                count=count,
                system=f"taskq {pool}",
            )
        if redis is not None:
            yield from throughput(
                Celery(redis),
                pool="prefork",
                concurrency=concurrency,
                count=count,
                system="Celery on Redis, prefork",
            )
    yield from throughput(
        Taskq(bootstrap),
        pool="asyncio",
        concurrency=100,
        count=count,
        system="taskq asyncio, async def",
        task=ASYNC_NOOP,
    )


def late_acks(bootstrap: str, count: int) -> Iterator[Row]:
    """Measure what settling after the run costs, beside settling before it, pool by pool."""
    for pool, concurrency in (("prefork", 2), ("prefork", 8), ("threads", 8)):
        rates: list[float] = []
        for task, when in ((NOOP, "at most once"), (LATE_NOOP, "acks_late")):
            system = f"taskq {pool}, {when}"
            for row in throughput(
                Taskq(bootstrap),
                pool=pool,
                concurrency=concurrency,
                count=count,
                system=system,
                task=task,
            ):
                yield row
                if row.figure == "tasks/s":
                    rates.append(row.value)
                    yield Row(row.measure, system, "% of at most once", 100 * rates[-1] / rates[0])


def sleepers(bootstrap: str, redis: str | None, count: int) -> Iterator[Row]:
    """Measure how long tasks of 10 ms of waiting take, a hundred at a time; the ideal is count / 10,000 seconds."""
    name = f"{count:,} tasks of 10 ms waiting, 100 at a time"
    plans: list[tuple[Driver, str, str]] = [
        (Taskq(bootstrap), "threads", "benchmark.doze"),
        (Taskq(bootstrap), "asyncio", "benchmark.adoze"),
    ]
    if redis is not None:
        plans.append((Celery(redis), "threads", "benchmark.doze"))
    for driver, pool, task in plans:
        driver.send_many(task, [(0.01,)] * count)
        run = work_off(driver, pool=pool, concurrency=100)
        yield Row(name, f"{driver.name}, {pool}", "seconds", run.tally.last - run.tally.first)
    yield Row(name, "ideal", "seconds", count * 0.01 / 100)


def growth(bootstrap: str, sizes: list[int]) -> Iterator[Row]:
    """(f) Measure how the rate and the memory go with the backlog and with the number of workers."""
    for count in sizes:
        for workers in (1, 2, 4):
            driver = Taskq(bootstrap)
            for start in range(0, count, 100_000):
                part = range(start, min(count, start + 100_000))
                driver.send_many(NOOP, [(number, "a few letters") for number in part])
            run = work_off(driver, pool="prefork", concurrency=2, workers=workers)
            assert run.tally.runs == count, f"{run.tally.runs} of {count} tasks ran"
            name = f"growth, backlog of {count:,}, -c 2"
            system = f"{workers} workers" if workers > 1 else "1 worker"
            yield Row(name, system, "tasks/s", count / (run.tally.last - run.tally.first))
            yield Row(name, system, "MB (PSS)", run.pss)
