"""The pool `solo`: one task at a time, in the main thread of the worker's own process.

For debuggers, and for libraries that insist on the main thread. The supervisor moves to a thread of its own meanwhile.
"""

from __future__ import annotations

import queue
from collections.abc import Sequence

from taskq.running.executor import Executor
from taskq.worker.delivery import Delivery
from taskq.worker.pools.inprocess import InProcessPool


class SoloPool(InProcessPool):
    """Runs deliveries in the thread that calls `serve`."""

    uses_main_thread = True

    def __init__(self, executor: Executor) -> None:
        super().__init__(1, executor)
        self._line: queue.SimpleQueue[Delivery | None] = queue.SimpleQueue()

    def serve(self) -> None:
        """Run tasks in the calling thread; see `Pool`."""
        while True:
            delivery = self._line.get()
            if delivery is None:
                self._executor.close()
                return
            self._report([(delivery, self._execute(delivery))])

    def send(self, lane: int, deliveries: Sequence[Delivery]) -> None:
        """Hand deliveries to a lane; see `Pool`."""
        self._hold(deliveries)
        for delivery in deliveries:
            self._line.put(delivery)

    def _close(self) -> None:
        self._line.put(None)

    def kill(self) -> None:
        """Let `serve` return if nothing runs; what runs in the main thread ends with the process."""
        self._line.put(None)
