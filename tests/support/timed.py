"""A prefix of a test's own with an app and workers behind it, for what waits: no other test's worker keeps its time."""

from __future__ import annotations

from collections.abc import Mapping

from taskq import App
from tests.support.kafka import Kafka
from tests.support.ledger import Ledger
from tests.support.names import fresh_name
from tests.support.processes import Process, Processes
from tests.support.scene import READY, START_SECONDS
from tests.support.waiting import wait_until


class Timed:
    """An app of the test's process and real workers on one prefix; `close` lets go of the app."""

    def __init__(self, name: str, kafka: Kafka, processes: Processes, ledger: Ledger) -> None:
        """Prepare; nothing is started.

        Args:
            name: Begins the prefix.
            kafka: The broker.
            processes: Start the workers.
            ledger: Where tasks write down what they did.
        """
        self.prefix = fresh_name(name) + "."
        self.ledger = ledger
        self.app = App(name, broker=kafka.bootstrap, prefix=self.prefix, default_queue="main")
        self._processes = processes
        self._env: Mapping[str, str] = {
            "TASKQ_BROKER": kafka.bootstrap,
            "TASKQ_PREFIX": self.prefix,
            "TASKQ_DEFAULT_QUEUE": "main",
            "TEST_LEDGER": str(ledger.path),
        }

    def start(self, *command: str, **env: str) -> Process:
        """Start a command."""
        return self._processes.taskq(*command, env={**self._env, **env})

    def worker(self, *options: str, **env: str) -> Process:
        """Start a worker and wait until it is ready."""
        worker = self.start("worker", "-A", "tests.support.scene_tasks", "-c", "1", *options, **env)
        worker.wait_for_line(READY, timeout=START_SECONDS)
        return worker

    def wait(self, event: str, id: str) -> None:
        """Wait until a task has written an event."""
        wait_until(lambda: id in self.ledger.ids(event), timeout=60, what=f"{event} of {id}")

    def close(self) -> None:
        """Let go of the app's connections."""
        self.app.close()
