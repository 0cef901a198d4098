"""Questions to the log, and making queues."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from taskq.memory.cluster import Cluster
from taskq.memory.options import MemoryOptions
from taskq.protocols import QueueStatus, StoredDeadLetter


class Admin:
    """A `taskq.protocols.Admin`. Any thread may call it; nothing blocks, so timeouts mean nothing."""

    def __init__(self, cluster: Cluster, options: MemoryOptions) -> None:
        """Ask this cluster."""
        self._cluster = cluster
        self._options = options

    def check(self, *, timeout: float) -> None:
        """Return: the broker is here."""

    def create_queue(self, queue: str, *, timeout: float) -> None:
        """Make a queue; one that exists is used as it is.

        Raises:
            QueueNameInvalid: Kafka would not take the name.
        """
        topic = self._options.topic_of(queue)
        with self._cluster.waking() as log:
            log.create(topic, self._options.partitions)

    def queues(self, *, timeout: float) -> list[str]:
        """Return the names of all queues, sorted."""
        with self._cluster.locked() as log:
            return self._without_prefix(log.topics)

    def queue_status(
        self, queues: Sequence[str], *, group: str, timeout: float
    ) -> list[QueueStatus]:
        """Return how queues stand; a queue that does not exist is left out."""
        with self._cluster.locked():
            found = (self._status(queue, group) for queue in queues)
            return [status for status in found if status is not None]

    def _status(self, queue: str, group_name: str) -> QueueStatus | None:
        with self._cluster.locked() as log:
            topic = log.topics.get(self._options.topic_of(queue))
            if topic is None:
                return None
            group = topic.group(self._options.prefix + group_name)
            oldest_ms = group.oldest_ms()
            age = None if oldest_ms is None else (self._cluster.now_ms() - oldest_ms) / 1000
            workers = sum(bool(member.holds) for member in group.members)
            return QueueStatus(queue, len(topic.partitions), group.lag(), age, workers)

    def partition_counts(self, queues: Sequence[str], *, timeout: float) -> dict[str, int]:
        """Return how many partitions each queue has; a queue that does not exist is left out."""
        statuses = self.queue_status(queues, group=self._options.group, timeout=timeout)
        return {status.queue: status.partitions for status in statuses}

    def worker_counts(self, queues: Sequence[str], *, group: str, timeout: float) -> dict[str, int]:
        """Return how many members of a group hold a partition of each queue."""
        statuses = self.queue_status(queues, group=group, timeout=timeout)
        workers = {status.queue: status.workers for status in statuses}
        return {queue: workers.get(queue, 0) for queue in queues}

    def dead_letter_queues(self, *, timeout: float) -> list[str]:
        """Return the names of the queues that have had a dead letter, sorted."""
        with self._cluster.locked() as log:
            return self._without_prefix(log.dead)

    def dead_letters(self, queue: str, *, timeout: float) -> list[StoredDeadLetter]:
        """Return the dead letters of a queue, oldest first."""
        with self._cluster.locked() as log:
            letters = log.dead.get(self._options.prefix + queue, {}).values()
            return sorted(letters, key=lambda letter: (letter.timestamp_ms, letter.id))

    def purge(self, queue: str) -> int:
        """Delete all records of a queue for every group; return how many of them this group had not claimed."""
        with self._cluster.waking() as log:
            topic = log.topics.get(self._options.topic_of(queue))
            if topic is None:
                return 0
            waiting = topic.group(self._options.group_id).lag()
            topic.purge()
            return waiting

    def _without_prefix(self, topics: Iterable[str]) -> list[str]:
        prefix = self._options.prefix
        return sorted(topic[len(prefix) :] for topic in topics if topic.startswith(prefix))
