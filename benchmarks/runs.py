"""One worker's run: started, worked off, stopped, and what it used. Shared by the measurements."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from benchmarks.drivers import PATIENCE, Driver
from benchmarks.tally import Tally, read
from benchmarks.tree import cpu_seconds, family, pss_mb
from tests.support.processes import Processes
from tests.support.waiting import Deadline, pause

LOOK_EVERY = 0.1
"""Seconds between two looks at what is left: a look costs the broker some milliseconds."""


@dataclass(frozen=True)
class Run:
    """What one or more workers did and used."""

    tally: Tally
    started: float
    """`perf_counter` when the first worker was started."""

    cpu: float
    """Seconds of all processes, from their start on."""

    pss: float
    """MB of all processes together, at the end."""


@contextmanager
def quiet_processes() -> Iterator[tuple[Processes, Path]]:
    """Give what starts processes, and the file for their tallies; both are gone afterwards."""
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as folder,
        Processes(Path(folder)) as processes,
    ):
        yield processes, Path(folder) / "times"
        for process in processes.all:
            # Or their output would be printed.
            process.output.write_text("")


def wait_done(driver: Driver) -> None:
    """Wait until nothing of a driver's queue is left."""
    deadline = Deadline(PATIENCE)
    while driver.waiting():
        assert not deadline.is_over, f"{driver.name}: {driver.waiting()} tasks are left"
        pause(LOOK_EVERY)


def work_off(
    driver: Driver,
    *,
    pool: str,
    concurrency: int,
    workers: int = 1,
    meanwhile: Callable[[], None] = lambda: None,
) -> Run:
    """Start workers on a driver's queue and stop them when it is empty.

    Args:
        driver: Its queue may be filled already.
        pool: The workers' pool.
        concurrency: Of each worker.
        workers: How many.
        meanwhile: Called once they were started; what it sends is worked off, too.
    """
    with quiet_processes() as (processes, times):
        started = perf_counter()
        running = [
            driver.worker(processes, times, pool=pool, concurrency=concurrency)
            for _ in range(workers)
        ]
        meanwhile()
        wait_done(driver)
        pids = [pid for each in running for pid in family(each.pid)]
        cpu, pss = cpu_seconds(pids), pss_mb(pids)
        for each in running:
            each.stop(timeout=PATIENCE)
        return Run(read(times), started, cpu, pss)
