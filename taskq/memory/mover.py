"""Taking dead letters out, beside the log: a record to its queue and the letter's end under one lock."""

from __future__ import annotations

from collections.abc import Sequence

from taskq.memory.cluster import Cluster
from taskq.memory.errors import QueueMissing, RecordTooLarge
from taskq.memory.log import Entry, Log
from taskq.memory.options import MemoryOptions
from taskq.memory.publisher import RECORD_MAX_BYTES, record_size
from taskq.protocols import Removal, ReturnedRecord, StoredDeadLetter


class Mover:
    """A `taskq.protocols.DeadLetterMover`. Nothing blocks, so timeouts mean nothing."""

    def __init__(self, cluster: Cluster, options: MemoryOptions, queue: str) -> None:
        """Take over from whoever moved the queue's dead letters before."""
        self._cluster = cluster
        self._options = options
        self._topic = options.prefix + queue
        with cluster.locked() as log:
            self._turn = log.movers[self._topic] = log.movers.get(self._topic, 0) + 1

    def letters(self, *, timeout: float) -> list[StoredDeadLetter]:
        """Return the letters that stand, oldest first."""
        with self._cluster.locked() as log:
            letters = log.dead.get(self._topic, {}).values()
            return sorted(letters, key=lambda letter: (letter.timestamp_ms, letter.id))

    def move(self, removals: Sequence[Removal], *, timeout: float) -> bool:
        """Write the records and take out the letters, all or nothing.

        Raises:
            RecordTooLarge: One is; nothing was done.
            QueueMissing: A queue does not exist and is not to be made here.
        """
        records = [each.record for each in removals if each.record is not None]
        for record in records:
            size = record_size(record.key, record.value, record.headers)
            if size > RECORD_MAX_BYTES:
                raise RecordTooLarge(record.queue, size)
        with self._cluster.waking() as log:
            if log.movers[self._topic] != self._turn:
                return False
            topics = {record.queue: self._topic_of(log, record) for record in records}
            for record in records:
                entry = Entry(
                    self._cluster.now_ms(), record.key, record.value, tuple(record.headers)
                )
                log.topics[topics[record.queue]].append(entry)
            for each in removals:
                log.dead.get(self._topic, {}).pop(each.letter.id, None)
        return True

    def close(self) -> None:
        """Return: there is nothing to let go of."""

    def _topic_of(self, log: Log, record: ReturnedRecord) -> str:
        topic = self._options.topic_of(record.queue)
        if self._options.auto_create:
            log.create(topic, self._options.partitions)
        if topic not in log.topics:
            raise QueueMissing(record.queue)
        return topic
