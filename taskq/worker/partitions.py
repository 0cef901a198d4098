"""What is said of the partitions that an intake has: which ones after a rebalance, and that there is none for it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from taskq.app import App
from taskq.errors import TaskqError
from taskq.protocols import Rebalance
from taskq.worker.spare import Spare

logger = logging.getLogger(__name__)

_QUESTION_SECONDS = 2.0
"""For a question how the queue stands; no records are taken meanwhile, and there are no partitions to take them from."""


class Partitions:
    """Of one channel; its intake's thread calls it."""

    def __init__(self, queue: str, app: App) -> None:
        """Begin without any.

        Args:
            queue: The intake's.
            app: Its broker is asked how many there are.
        """
        self._queue = queue
        self._app = app
        self._spare = Spare()

    @property
    def are_with_others(self) -> bool:
        """Whether it is known, and was said, that there is none for this worker."""
        return self._spare.is_settled

    def begin_anew(self) -> None:
        """Note that the channel is out of its group: what was known of its place there is so no more."""
        self._spare = Spare()

    def look(self, partitions: Sequence[int], now: float) -> None:
        """Say once if all partitions are with other workers; asks the broker now and then while there is none.

        Args:
            partitions: The own ones.
            now: Monotonic seconds.
        """
        if self._spare.should_ask(now, has_partitions=bool(partitions)):
            self._look_for_one()

    def say_own(self, partitions: Iterable[int], events: Iterable[Rebalance]) -> None:
        """Say once per rebalance what this worker has now.

        Args:
            partitions: The own ones.
            events: What came and went.
        """
        numbers = sorted(partitions)
        if numbers:
            logger.info(
                "queue %s: partitions %s (%s)",
                self._queue,
                ", ".join(map(str, numbers)),
                ", ".join(sorted({event.kind for event in events})),
                extra={"event": "intake.rebalanced", "queue": self._queue},
            )

    def _look_for_one(self) -> None:
        """Say if there is none to be had: slots do not need a partition each, processes do."""
        queue, group = self._queue, self._app.settings.group
        broker = self._app.broker
        try:
            with broker.errors():
                admin, seconds = broker.admin, _QUESTION_SECONDS
                counts = admin.partition_counts([queue], timeout=seconds)
                partitions = counts.get(queue, 0)
                workers = admin.worker_counts([queue], group=group, timeout=seconds)[queue]
        except TaskqError:
            logger.debug("queue %s: no answer how many workers there are", queue, exc_info=True)
            return
        if workers < partitions or not partitions:
            return  # there is one to be had, and it is on its way
        self._spare.settle()
        logger.info(
            "no partition of queue %s for this worker: %d partition%s, %d workers or more; it waits in case another stops",
            queue,
            partitions,
            "s" if partitions != 1 else "",
            workers + 1,
            extra={"event": "intake.no_partition", "queue": queue},
        )
