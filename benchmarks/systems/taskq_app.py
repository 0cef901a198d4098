"""taskq's worker: `taskq worker -A benchmarks.systems.taskq_app`."""

from __future__ import annotations

from benchmarks.systems import work
from taskq import default_app, task

noop = task("benchmark.noop")(work.noop)
late_noop = task("benchmark.late_noop", acks_late=True)(work.noop)
stamp = task("benchmark.stamp")(work.stamp)
doze = task("benchmark.doze")(work.doze)
punctual = task("benchmark.punctual")(work.punctual)


@task("benchmark.anoop")
async def anoop(number: int, text: str) -> None:
    """Do nothing, on the event loop."""
    work.mine.ran()


@task("benchmark.adoze")
async def adoze(seconds: float) -> None:
    """Wait without holding a thread."""
    import asyncio  # not what a pool of processes with plain functions has to carry

    if not work.mine.runs:
        work.mine.ran()
    await asyncio.sleep(seconds)
    work.mine.ran()


@default_app.on("worker_process_shutdown")
@default_app.on("worker_shutdown")
def write() -> None:
    """Write down what this process did."""
    work.mine.write()
