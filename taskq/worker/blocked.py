"""What is said of partitions that stand still: which task they wait for, and that they go on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from taskq.worker.delivery import Delivery

logger = logging.getLogger(__name__)


def say_freed(queue: str, partition: int) -> None:
    """Say that a partition which stood still goes on."""
    logger.info(
        "queue %s partition %d goes on",
        queue,
        partition,
        extra={"event": "intake.partition_freed", "queue": queue, "partition": partition},
    )


class BlockedPartitions:
    """Those that wait for a task, as too much is finished above its record. Of one intake, which outlives its channels."""

    def __init__(self, queue: str) -> None:
        """Begin with none.

        Args:
            queue: The intake's.
        """
        self._queue = queue
        self._said: set[int] = set()

    def look(self, blocked: Mapping[int, int], find: Callable[[int, int], Delivery | None]) -> None:
        """Say once of each partition that it stands still, and once that it goes on.

        Args:
            blocked: Those that stand still, with the offset of the record they wait for.
            find: Returns what is at work at a partition and offset.
        """
        if not blocked and not self._said:
            return
        for partition, offset in blocked.items():
            if partition not in self._said:
                self._say_blocked(partition, offset, find(partition, offset))
        for partition in self._said - set(blocked):
            say_freed(self._queue, partition)
        self._said = set(blocked)

    def _say_blocked(self, partition: int, offset: int, found: Delivery | None) -> None:
        place = f"{self._queue}/{partition}/{offset}"
        logger.error(
            "queue %s partition %d stands still: %s is not finished, and what is finished and at work behind it fits no commit any "
            "more; other partitions go on, and this one does when it is finished",
            self._queue,
            partition,
            found or f"the record {place}",
            extra={
                "event": "intake.partition_blocked",
                "queue": self._queue,
                "partition": partition,
                "offset": offset,
                **(found.fields if found is not None else {}),
            },
        )
