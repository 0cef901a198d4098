"""(g) What priorities cost, and how long a high task waits behind a backlog of low ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from benchmarks.drivers import PATIENCE, Taskq
from benchmarks.latency import STAMP
from benchmarks.rows import Row, percentile
from benchmarks.runs import LOOK_EVERY, quiet_processes, wait_done
from benchmarks.tally import read
from benchmarks.throughput import NOOP, throughput
from taskq_kafka.steps import STEPS, source_of, sources_of
from tests.support.waiting import Deadline, pause

DOZE = "benchmark.doze"

RATE = 20
SECONDS = 10
"""High tasks a second, and for how long they are sent."""


@dataclass
class Stepped(Taskq):
    """taskq with a queue that has topics for all steps; what is sent is spread over some of them."""

    used: Sequence[int] = field(default=STEPS)

    def __post_init__(self) -> None:
        """Make the steps' topics, so that a worker has them from its start on."""
        super().__post_init__()
        for source in sources_of(self.queue):
            self.app.broker.admin.create_queue(source, timeout=30)

    def send_many(self, task: str, calls: Sequence[tuple[Any, ...]]) -> None:
        """Send an equal part of the calls to each step that is used."""
        registered = self.app.registry.get(task) or self.app.task(task)(lambda *args: None)
        for place, step in enumerate(self.used):
            part = calls[place :: len(self.used)]
            for start in range(0, len(part), 20_000):
                registered.options(priority=step).delay_many(part[start : start + 20_000])

    def send_high(self, task: str, *args: Any) -> None:
        """Send one of the highest priority."""
        self.app.send_task(task, args, priority=9)

    def waiting(self) -> int:
        """Ask for the group's lag on all steps."""
        return self._lag(sources_of(self.queue))

    def waiting_high(self) -> int:
        """Ask for that of the highest step."""
        return self._lag([source_of(self.queue, 9)])

    def _lag(self, sources: Sequence[str]) -> int:
        statuses = self.app.broker.admin.queue_status(sources, group=self.queue, timeout=PATIENCE)
        return sum(status.lag for status in statuses)


def cost(bootstrap: str, count: int) -> Iterator[Row]:
    """Measure throughput without steps, with steps that nobody uses, and with all of them full."""
    for concurrency in (2, 8):
        systems: list[tuple[Taskq, str]] = [
            (Taskq(bootstrap), "no priorities"),
            (Stepped(bootstrap, used=(0,)), "steps that are empty"),
            (Stepped(bootstrap), "four full steps"),
        ]
        for driver, system in systems:
            yield from throughput(
                driver,
                pool="prefork",
                concurrency=concurrency,
                count=count,
                system=f"taskq prefork, {system}",
                task=NOOP,
            )


def passing(bootstrap: str, backlog: int) -> Iterator[Row]:
    """Measure from sending to start of high tasks on a worker with two slots, idle and behind backlogs of low ones."""
    yield from _passing(bootstrap, 0, 0.0, "an idle worker")
    for seconds in (0.001, 0.05):
        system = f"behind {backlog:,} of {1000 * seconds:g} ms"
        yield from _passing(bootstrap, backlog, seconds, system)


def _passing(bootstrap: str, backlog: int, seconds: float, system: str) -> Iterator[Row]:
    driver = Stepped(bootstrap, used=(0,))
    driver.send_many(DOZE, [(seconds,)] * backlog)
    with quiet_processes() as (processes, times):
        worker = driver.worker(processes, times, concurrency=2)
        driver.send_high(STAMP, 0.0)
        wait_high(driver)
        start = perf_counter()
        for number in range(RATE * SECONDS):
            pause(max(0.0, start + number / RATE - perf_counter()))
            driver.send_high(STAMP, perf_counter())
        wait_high(driver)
        left = driver.waiting()
        assert left or not backlog, "the backlog was too short for this machine"
        if not backlog:
            wait_done(driver)
        worker.stop(timeout=PATIENCE)
        delays = [1000 * each for each in read(times).delays]
    assert len(delays) == RATE * SECONDS, f"{len(delays)} high tasks ran"
    name = f"priorities, {RATE} high tasks/s for {SECONDS} s, -c 2, ms from sending to start"
    for share, figure in ((0.5, "p50"), (0.99, "p99"), (1.0, "max")):
        yield Row(name, system, figure, percentile(delays, share))


def wait_high(driver: Stepped) -> None:
    """Wait until no high task of a driver's queue is left."""
    deadline = Deadline(PATIENCE)
    while driver.waiting_high():
        assert not deadline.is_over, f"{driver.waiting_high()} high tasks are left"
        pause(LOOK_EVERY)


def all_systems(bootstrap: str, count: int, backlog: int) -> Iterator[Row]:
    """Measure both."""
    yield from cost(bootstrap, count)
    yield from passing(bootstrap, backlog)
