"""The pool `threads`: N threads of the worker's own process. For tasks that wait more than they compute."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from taskq.executor import Executor
from taskq.worker.delivery import Delivery
from taskq.worker.pools.crew import Crew
from taskq.worker.pools.inprocess import InProcessPool


class ThreadsPool(InProcessPool):
    """Runs each delivery in a thread of a crew."""

    def __init__(self, slots: int, executor: Executor) -> None:
        super().__init__(slots, executor)
        self._crew = Crew(slots, "taskq-task", executor.close)

    def send(self, lane: int, deliveries: Sequence[Delivery]) -> None:
        """Hand deliveries to a lane; see `Pool`."""
        self._hold(deliveries)
        for delivery in deliveries:
            self._crew.submit(partial(self._run, delivery))

    def _close(self) -> None:
        self._crew.dismiss()

    def _run(self, delivery: Delivery) -> None:
        self._report([(delivery, self._execute(delivery))])
