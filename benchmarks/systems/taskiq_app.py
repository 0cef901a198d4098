"""taskiq's worker on Kafka: `taskiq worker benchmarks.systems.taskiq_app:broker`. Measured by hand once, see README.md."""

from __future__ import annotations

import os

from taskiq import TaskiqEvents
from taskiq_aio_kafka import AioKafkaBroker

from benchmarks.systems import work

broker = AioKafkaBroker(bootstrap_servers=os.environ.get("TASKQ_BROKER", "localhost:9092"))


@broker.task("benchmark.noop")
async def noop(number: int, text: str) -> None:
    """Do nothing."""
    work.noop(number, text)


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def write(state: object) -> None:
    """Write down what this process did."""
    work.mine.write()
