"""Other task queues, measured once and published beside ours: Celery and dramatiq on RabbitMQ, taskiq-aio-kafka on Kafka.

Not part of a usual run: RabbitMQ is a server more, and the packages are an extra of their own (`benchmarks-peers`).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.drivers import PATIENCE, Celery, Driver, Taskq
from benchmarks.rabbitmq import RabbitMQ, rabbitmq
from benchmarks.rows import Row
from benchmarks.throughput import throughput
from tests.support.names import fresh_name
from tests.support.processes import Process, Processes


@dataclass
class CeleryOnRabbit(Celery):
    """Celery on RabbitMQ."""

    name: str = "Celery on RabbitMQ"
    node: RabbitMQ = field(kw_only=True)

    def waiting(self) -> int:
        """Ask RabbitMQ."""
        return self.node.backlog(self.queue)


@dataclass
class DramatiqOnRabbit:
    """dramatiq on RabbitMQ."""

    node: RabbitMQ
    name: str = "dramatiq on RabbitMQ"
    queue: str = field(init=False)
    actors: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        """Make a queue of its own."""
        import dramatiq
        from dramatiq.brokers.rabbitmq import RabbitmqBroker

        self.queue = fresh_name("benchmark")
        broker = RabbitmqBroker(url=self.node.url)
        noop = dramatiq.actor(
            lambda number, text: None,
            actor_name="benchmark.noop",
            queue_name=self.queue,
            broker=broker,
        )
        self.actors = {"benchmark.noop": noop}

    def send_many(self, task: str, calls: Sequence[tuple[Any, ...]]) -> None:
        """Send one by one: dramatiq has no other way."""
        for args in calls:
            self.actors[task].send(*args)

    def send(self, task: str, *args: Any) -> None:
        """Send one."""
        self.actors[task].send(*args)

    def worker(
        self, processes: Processes, times: Path, *, pool: str = "prefork", concurrency: int = 2
    ) -> Process:
        """Start `dramatiq` with processes of one thread each, and a prefetch as Celery's here instead of 2 a thread."""
        options = ["--processes", str(concurrency), "--threads", "1"]
        env = {
            "BENCHMARK_URL": self.node.url,
            "BENCHMARK_QUEUE": self.queue,
            "BENCHMARK_TIMES": str(times),
            "dramatiq_queue_prefetch": "64",
        }
        app = "benchmarks.systems.dramatiq_app"
        return processes.python("-m", "dramatiq", app, *options, env=env)

    def waiting(self) -> int:
        """Ask RabbitMQ."""
        return self.node.backlog(self.queue)


@dataclass
class TaskiqOnKafka:
    """taskiq-aio-kafka: one asyncio process, which commits by itself every few seconds, whatever has run."""

    bootstrap: str
    name: str = "taskiq-aio-kafka"
    topic: Taskq = field(init=False)

    def __post_init__(self) -> None:
        """Make a topic of its own, with as many partitions as taskq's."""
        self.topic = Taskq(self.bootstrap)

    @property
    def environment(self) -> dict[str, str]:
        """What its app needs."""
        return {"BENCHMARK_URL": self.bootstrap, "BENCHMARK_QUEUE": self.topic.queue}

    def send_many(self, task: str, calls: Sequence[tuple[Any, ...]]) -> None:
        """Send a thousand at a time."""
        os.environ.update(self.environment)  # its app reads them when it is imported
        asyncio.run(_kick(task, calls))

    def send(self, task: str, *args: Any) -> None:
        """Send one."""
        self.send_many(task, [args])

    def worker(
        self, processes: Processes, times: Path, *, pool: str = "asyncio", concurrency: int = 100
    ) -> Process:
        """Start `taskiq worker`."""
        options = ["--workers", "1", "--max-async-tasks", str(concurrency)]
        app = "benchmarks.systems.taskiq_app:broker"
        env = {**self.environment, "BENCHMARK_TIMES": str(times)}
        return processes.python(
            *("-m", "taskiq", "worker", app, "--log-level", "WARNING", *options), env=env
        )

    def waiting(self) -> int:
        """Ask for the group's lag."""
        (status,) = self.topic.app.broker.admin.queue_status(
            [self.topic.queue], group=self.topic.queue, timeout=PATIENCE
        )
        return status.lag


async def _kick(name: str, calls: Sequence[tuple[Any, ...]]) -> None:
    from taskiq.kicker import AsyncKicker

    from benchmarks.systems import taskiq_app

    broker = taskiq_app.new_broker()
    await broker.startup()
    try:
        for start in range(0, len(calls), 1000):
            part = calls[start : start + 1000]
            await asyncio.gather(*(AsyncKicker(name, broker, {}).kiq(*args) for args in part))
    finally:
        await broker.shutdown()


def all_systems(bootstrap: str, count: int) -> Iterator[Row]:
    """Measure each with 2 and 8 tasks at a time; taskiq in its one process, with its usual hundred."""
    with rabbitmq() as node:
        for concurrency in (2, 8):
            drivers: list[Driver] = [CeleryOnRabbit(node.url, node=node), DramatiqOnRabbit(node)]
            for driver in drivers:
                yield from throughput(
                    driver,
                    pool="prefork",
                    concurrency=concurrency,
                    count=count,
                    system=f"{driver.name}, prefork",
                )
    yield from throughput(
        TaskiqOnKafka(bootstrap),
        pool="asyncio",
        concurrency=100,
        count=count,
        system="taskiq-aio-kafka, one asyncio process",
    )
