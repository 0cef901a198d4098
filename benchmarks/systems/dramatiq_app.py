"""dramatiq's worker: `dramatiq benchmarks.systems.dramatiq_app`; the broker's URL is in `BENCHMARK_URL`."""

from __future__ import annotations

import logging
import os
from typing import Any

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker

from benchmarks.systems import work


class Write(dramatiq.Middleware):
    """Writes down what a process did, at its end."""

    def after_worker_shutdown(self, broker: Any, worker: Any) -> None:
        """Write it."""
        work.mine.write()


broker = RabbitmqBroker(url=os.environ.get("BENCHMARK_URL", "amqp://localhost"))
broker.add_middleware(Write())
noop = dramatiq.actor(
    work.noop,
    actor_name="benchmark.noop",
    queue_name=os.environ.get("BENCHMARK_QUEUE", "benchmark"),
    broker=broker,
)
dramatiq.set_broker(broker)
logging.getLogger("dramatiq").setLevel(logging.WARNING)
