"""How each system is driven: its worker started, its queue filled and looked at. One class a system, all with the same methods."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol

from taskq import App
from taskq.message import Writer, new_task_id
from taskq.protocols import Outgoing
from taskq.sources import Sources
from taskq.timing.delays import When
from tests.support.names import fresh_name
from tests.support.processes import Process, Processes

PATIENCE = 600.0
"""Seconds that a run may take before something must be wrong."""


class Driver(Protocol):
    """A system with a queue of its own."""

    name: str

    def send_many(self, task: str, calls: Sequence[tuple[Any, ...]]) -> None:
        """Send calls as fast as it can; returns when the broker has them."""

    def send(self, task: str, *args: Any) -> None:
        """Send one; returns when the broker has it."""

    def worker(self, processes: Processes, times: Path, *, pool: str, concurrency: int) -> Process:
        """Start a worker, which writes its tally to `times`; returns at once."""

    def waiting(self) -> int:
        """Return how many tasks have not been taken or are being run."""


class DelayDriver(Driver, Protocol):
    """A system whose tasks can wait for their time."""

    delayed_rate: float
    """Tasks a second that `send_at` can send at least."""

    def send_at(self, task: str, etas: Sequence[float], *, is_counted: bool = True) -> None:
        """Send a call for each instant (seconds since 1970) as its eta, and as its argument if it counts; else 0."""


@dataclass
class Taskq:
    """taskq on Kafka."""

    bootstrap: str
    name: str = "taskq"
    delayed_rate: float = 5000
    prefix: bool = False
    """Whether topics and groups get a prefix of their own."""

    app: App = field(init=False)
    queue: str = field(init=False)

    def __post_init__(self) -> None:
        """Make a queue and a group of its own."""
        self.queue = fresh_name("benchmark")
        self.app = App("benchmark", **self.settings)
        self.app.adopt(Sources())
        self.app.broker.admin.create_queue(self.queue, timeout=30)

    @property
    def settings(self) -> dict[str, Any]:
        """What a sender needs."""
        own = {"prefix": f"{self.queue}."} if self.prefix else {}
        return {"broker": self.bootstrap, "default_queue": self.queue, "group": self.queue, **own}

    @property
    def environment(self) -> dict[str, str]:
        """The same for another process."""
        return {f"TASKQ_{name.upper()}": value for name, value in self.settings.items()}

    def send_many(self, task: str, calls: Sequence[tuple[Any, ...]]) -> None:
        """Send by `delay_many`, in pieces that fit one timeout."""
        registered = self.app.registry.get(task) or self.app.task(task)(lambda *args: None)
        for start in range(0, len(calls), 20_000):
            registered.delay_many(calls[start : start + 20_000])

    def send(self, task: str, *args: Any) -> None:
        """Send by `delay`."""
        self.app.send_task(task, args)

    def send_at(self, task: str, etas: Sequence[float], *, is_counted: bool = True) -> None:
        """Send as `apply_async(eta=...)` does, with one wait for many."""
        for start in range(0, len(etas), 5000):
            writes = []
            for at in etas[start : start + 5000]:
                time, id = When(datetime.fromtimestamp(at, tz=timezone.utc)), new_task_id()
                value, headers = Writer(task).write(
                    id, (at * is_counted,), {}, headers=time.headers
                )
                message = Outgoing(self.queue, value, headers)
                writes.append(time.outgoing(message, id, self.app.now()))
            errors = self.app.broker.publish(writes)
            assert not any(errors), next(filter(None, errors))

    def worker(
        self, processes: Processes, times: Path, *, pool: str = "prefork", concurrency: int = 2
    ) -> Process:
        """Start `taskq worker`."""
        options = ["-P", pool, "-c", str(concurrency), "-l", "warning"]
        app = "benchmarks.systems.taskq_app"
        env = {**self.environment, "BENCHMARK_TIMES": str(times)}
        return processes.taskq("worker", "-A", app, *options, env=env)

    def waiting(self) -> int:
        """Ask for the group's lag."""
        (status,) = self.app.broker.admin.queue_status(
            [self.queue], group=self.queue, timeout=PATIENCE
        )
        return status.lag


@dataclass
class Celery:
    """Celery on Redis."""

    url: str
    name: str = "Celery on Redis"
    delayed_rate: float = 800
    app: Any = field(init=False)
    queue: str = field(init=False)

    def __post_init__(self) -> None:
        """Make a queue of its own."""
        import celery

        self.queue = fresh_name("benchmark")
        self.app = celery.Celery("benchmark", broker=self.url)
        self.app.conf.update(task_default_queue=self.queue, task_ignore_result=True)

    @property
    def environment(self) -> dict[str, str]:
        """What another process needs."""
        return {"BENCHMARK_URL": self.url, "BENCHMARK_QUEUE": self.queue}

    def send_many(self, task: str, calls: Iterable[tuple[Any, ...]]) -> None:
        """Send one by one on one connection: Celery has no other way."""
        with self.app.connection_for_write() as connection, connection.channel() as channel:
            producer = self.app.amqp.Producer(channel)
            for args in calls:
                self.app.send_task(task, args, producer=producer)

    def send(self, task: str, *args: Any) -> None:
        """Send by `send_task`."""
        self.app.send_task(task, args)

    def send_at(self, task: str, etas: Sequence[float], *, is_counted: bool = True) -> None:
        """Send one by one on one connection."""
        with self.app.connection_for_write() as connection, connection.channel() as channel:
            producer = self.app.amqp.Producer(channel)
            for at in etas:
                eta = datetime.fromtimestamp(at, tz=timezone.utc)
                self.app.send_task(task, (at * is_counted,), eta=eta, producer=producer)

    def worker(
        self, processes: Processes, times: Path, *, pool: str = "prefork", concurrency: int = 2
    ) -> Process:
        """Start `celery worker`, without what only matters among many workers."""
        command = ["-m", "celery", "-A", "benchmarks.systems.celery_app", "worker"]
        options = ["-P", pool, "-c", str(concurrency), "-l", "warning"]
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        env = {**self.environment, "BENCHMARK_TIMES": str(times)}
        return processes.python(*command, *options, *quiet, env=env)

    def waiting(self) -> int:
        """Ask Redis for the queue's length and what is not acknowledged."""
        client = self.app.connection_for_write().default_channel.client
        return int(client.llen(self.queue)) + int(client.hlen("unacked"))
