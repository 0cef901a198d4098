"""Writes records and dead letters into the log. What is written is acknowledged at once."""

from __future__ import annotations

from collections.abc import Sequence

from taskq.memory.cluster import Cluster
from taskq.memory.errors import QueueMissing, RecordTooLarge
from taskq.memory.log import Entry, Log
from taskq.memory.options import MemoryOptions
from taskq.protocols import DeadLetter, HeaderList, Outgoing, StoredDeadLetter
from taskq_kafka.steps import queue_of_source

RECORD_MAX_BYTES = 1_048_588
"""Kafka's default of `max.message.bytes`: a task that is too large there should be too large in a test."""

_PREFIX = "dlq-"
_NULL_VALUE = (_PREFIX + "null-value", b"true")
_SOURCE_KEY = _PREFIX + "source-key"


class Publisher:
    """A `taskq.protocols.Publisher`. Any thread may call it; nothing blocks, so timeouts mean nothing."""

    def __init__(self, cluster: Cluster, options: MemoryOptions) -> None:
        """Write into this cluster."""
        self._cluster = cluster
        self._options = options

    def publish(self, messages: Sequence[Outgoing], *, timeout: float) -> list[Exception | None]:
        """Write records, and return for each None or why it was not sent."""
        return [self._publish_one(message) for message in messages]

    def _publish_one(self, message: Outgoing) -> Exception | None:
        try:
            with self._cluster.waking() as log:
                topic, entry = self.entry(log, message)
                log.topics[topic].append(entry)
        except (LookupError, ValueError) as error:
            return error
        return None

    def entry(self, log: Log, message: Outgoing) -> tuple[str, Entry]:
        """Return a message as its topic, which exists then, will have it. Who calls it holds the log.

        Raises:
            RecordTooLarge: Kafka would not take it.
            QueueNameInvalid: Its queue is none.
            QueueMissing: Its queue does not exist and is not to be made.
        """
        size = record_size(message.key, message.value, message.headers)
        if size > RECORD_MAX_BYTES:
            raise RecordTooLarge(message.queue, size)
        topic = self.prepare(log, message.queue)
        entry = Entry(self._cluster.now_ms(), message.key, message.value, tuple(message.headers))
        return topic, entry

    def prepare(self, log: Log, queue: str) -> str:
        """Return the topic of a queue, which exists then; raises as `entry`. Who calls it holds the log."""
        topic = self._options.topic_of(queue)
        if self._options.auto_create:
            log.create(topic, self._options.partitions)
        if topic not in log.topics:
            raise QueueMissing(queue)
        return topic

    def dead_letters(
        self, letters: Sequence[DeadLetter], *, timeout: float
    ) -> list[Exception | None]:
        """Write dead letters, each beside its record's queue."""
        now_ms = self._cluster.now_ms()
        for letter in letters:
            stored = stored_letter(letter, now_ms)
            topic = self._options.prefix + stored.queue
            with self._cluster.waking() as log:
                log.dead.setdefault(topic, {})[stored.id] = stored
        return [None] * len(letters)


def stored_letter(letter: DeadLetter, now_ms: int) -> StoredDeadLetter:
    """Return a dead letter as it stands in its topic: the record byte for byte, and the `dlq-*` headers behind its own."""
    record = letter.record
    added = [(name, value) for name, value in letter.headers if name.startswith(_PREFIX)]
    names = {name for name, _ in added}
    if record.key is not None and _SOURCE_KEY not in names:
        added.append((_SOURCE_KEY, record.key))
    if record.value is None and _NULL_VALUE[0] not in names:
        added.append(_NULL_VALUE)
    return StoredDeadLetter(
        id=f"{record.queue}/{record.partition}/{record.offset}",
        queue=queue_of_source(record.queue),
        value=record.value,
        headers=(*record.headers, *added),
        timestamp_ms=now_ms,
    )


def record_size(key: bytes | None, value: bytes | None, headers: HeaderList) -> int:
    """Return the bytes that a record takes."""
    size = len(key or b"") + len(value or b"")
    return size + sum(len(name.encode()) + len(content or b"") for name, content in headers)
