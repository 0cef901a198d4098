"""A task that does nothing, and the times at which a worker's processes ran it: `taskq worker -A benchmarks.noop`.

Each pool process, and the worker's own process, writes one JSON line at its end into the file that `BENCHMARK_TIMES` names. The
clock is `perf_counter`, which on Linux and macOS is the same in all processes of a machine.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter, process_time

from taskq import default_app, task


@dataclass
class Times:
    """What one process did. Times in seconds; of runs that overlap in threads the counts may be a little low."""

    role: str = "pool"
    runs: int = 0
    first: float = 0.0
    """When the first run began."""

    last: float = 0.0
    """When the last run ended."""

    cpu: float = 0.0
    """Of this process, from the first run (in the worker's own process: from being ready) to its end."""


_mine = Times()


@task("benchmark.noop")
def noop(number: int, text: str) -> None:
    """Do nothing."""
    if not _mine.runs:
        _mine.first, _mine.cpu = perf_counter(), process_time()
    _mine.runs += 1
    _mine.last = perf_counter()


@default_app.on("worker_ready")
def begin() -> None:
    """Count the worker's own CPU from here."""
    _mine.role, _mine.cpu = "worker", process_time()


@default_app.on("worker_process_shutdown")
@default_app.on("worker_shutdown")
def write() -> None:
    """Write down what this process did."""
    if _mine.runs or _mine.role == "worker":
        line = asdict(_mine) | {"cpu": process_time() - _mine.cpu}
        with Path(os.environ["BENCHMARK_TIMES"]).open("a") as file:
            file.write(json.dumps(line) + "\n")


@dataclass(frozen=True)
class Report:
    """What all processes of a worker did together."""

    runs: int
    seconds: float
    """From the first start to the last end."""

    worker_us: float
    """CPU of the worker's own process a task, in microseconds."""

    pool_us: float
    """CPU of a pool process a task."""


def report(path: Path) -> Report:
    """Read what the processes of one worker wrote."""
    times = [Times(**json.loads(line)) for line in path.read_text().splitlines()]
    pool = [each for each in times if each.role == "pool"]
    runs = sum(each.runs for each in pool)
    return Report(
        runs=runs,
        seconds=max(each.last for each in pool) - min(each.first for each in pool),
        worker_us=1e6 * sum(each.cpu for each in times if each.role == "worker") / max(runs, 1),
        pool_us=1e6 * sum(each.cpu for each in pool) / max(runs, 1),
    )
