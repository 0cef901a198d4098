"""Queues with their priority steps as one: what is told of topics, added up. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from taskq.protocols import QueueStatus
from taskq_kafka.steps import queue_of_source


def totals(statuses: Iterable[QueueStatus]) -> list[QueueStatus]:
    """Return one status for each queue, sorted by name.

    What waits is added up, and the oldest of all is the oldest. Partitions and workers are those of the topic that has most: a
    worker takes from all steps of a queue, so it would be counted once for each.
    """
    by_queue: dict[str, list[QueueStatus]] = {}
    for status in statuses:
        by_queue.setdefault(queue_of_source(status.queue), []).append(status)
    return [_total(queue, found) for queue, found in sorted(by_queue.items())]


def _total(queue: str, steps: list[QueueStatus]) -> QueueStatus:
    ages = [status.oldest_age for status in steps if status.oldest_age is not None]
    return QueueStatus(
        queue,
        partitions=max(status.partitions for status in steps),
        lag=sum(status.lag for status in steps),
        oldest_age=max(ages, default=None),
        workers=max(status.workers for status in steps),
    )
