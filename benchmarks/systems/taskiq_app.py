"""taskiq's worker: `taskiq worker benchmarks.systems.taskiq_app:broker`; the Kafka's address is in `BENCHMARK_URL`."""

from __future__ import annotations

import os
from typing import Any

from taskiq import TaskiqEvents
from taskiq_aio_kafka import AioKafkaBroker

from benchmarks.systems import work


def new_broker() -> AioKafkaBroker:
    """Return a broker for a worker, or for one sender's event loop."""
    topic = os.environ.get("BENCHMARK_QUEUE", "benchmark")
    made = AioKafkaBroker(os.environ.get("BENCHMARK_URL", "localhost:9092"), kafka_topic=topic)
    made.configure_consumer(group_id=topic, auto_offset_reset="earliest")
    return made


broker = new_broker()


@broker.task("benchmark.noop")
async def noop(number: int, text: str) -> None:
    """Do nothing."""
    work.mine.ran()


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def write(state: Any) -> None:
    """Write down what this process did."""
    work.mine.write()
