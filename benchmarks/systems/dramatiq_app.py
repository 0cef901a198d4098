"""dramatiq's worker on RabbitMQ: `dramatiq benchmarks.systems.dramatiq_app`. Measured by hand once, see README.md."""

from __future__ import annotations

import os
from typing import Any

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker

from benchmarks.systems import work


class Writes(dramatiq.Middleware):  # type: ignore[misc,name-defined]  # dramatiq is not installed with the others
    """Writes down what this process did."""

    def before_worker_shutdown(self, *args: Any) -> None:
        """Write."""
        work.mine.write()


broker = RabbitmqBroker(url=os.environ.get("BENCHMARK_URL", "amqp://localhost"))
broker.add_middleware(Writes())
dramatiq.set_broker(broker)

noop = dramatiq.actor(work.noop, actor_name="benchmark.noop")
