"""The pool `threads`: N threads of the worker's own process. For tasks that wait more than they compute."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

from taskq.logs import log_failure
from taskq.running.executor import Executor
from taskq.worker.delivery import Delivery
from taskq.worker.pools.crew import Crew
from taskq.worker.pools.inprocess import InProcessPool
from taskq.worker.pools.reports import Reports
from taskq.worker.pools.slots import Slots

logger = logging.getLogger(__name__)


class ThreadsPool(InProcessPool):
    """Runs each delivery in a thread of a crew. A thread that has ended one goes on with the first in line."""

    def __init__(self, slots: int, executor: Executor) -> None:
        super().__init__(slots, executor)
        self._crew = Crew(slots, "taskq-task", executor.close)
        self._line: Slots[Delivery] = Slots(slots)
        self._reports = Reports(self._report)

    def send(self, lane: int, deliveries: Sequence[Delivery]) -> None:
        """Hand deliveries to a lane; see `Pool`."""
        self._hold(deliveries)
        self._start(self._line.enter(deliveries))

    def tick(self) -> None:
        """Report what has ended and whose thread runs longer with the next task than it was thought to."""
        self._reports.flush()

    def kill(self) -> None:
        """Report what has ended; a thread cannot be ended: the worker ends the process."""
        self._reports.flush()

    def _close(self) -> None:
        self._crew.dismiss()

    def _start(self, deliveries: Sequence[Delivery]) -> None:
        """Have deliveries run that have got a slot."""
        for delivery in deliveries:
            try:
                self._crew.submit(partial(self._work, delivery))
            except RuntimeError as error:
                # The worker stops, and names what it leaves: this, and what has got the other slots.
                self._broken = f"no thread can be started: {error}"
                return

    def _work(self, first: Delivery) -> None:
        """Run a delivery in the calling thread, and then what stands in line."""
        delivery: Delivery | None = first
        while delivery is not None:
            result = self._execute(delivery)
            following = self._next()
            try:
                self._reports.add(delivery, result, following=following)
            except BaseException:  # noqa: BLE001 - the loop's door: what has got the slot must run whatever a report brings
                log_failure(
                    logger,
                    "the report of what has ended failed, with %s",
                    delivery,
                    extra={"event": "pool.failed"},
                )
            delivery = following

    def _next(self) -> Delivery | None:
        """Pass on the slot of what has ended; return what the calling thread is to run in it, if it is to run anything."""
        return self._line.pass_on()
