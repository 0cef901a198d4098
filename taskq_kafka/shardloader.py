"""Fetching single records of a log by their offsets, beside the reader that follows its end.

Who owns a million timers keeps few of their records; these come shortly before they are due. Nothing here waits: each `step` takes
what has arrived. One thread uses it.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from . import forks
from .logrecords import LogRecord
from .options import TransportOptions

logger = logging.getLogger(__name__)

NEAR: Final = 1_000
"""Offsets between two wanted records that are read over: skipping them costs a fetch, as much as reading so many."""

BATCH: Final = 1_000
"""Records taken at once."""


class ShardLoader:
    """Reads wanted records of one log."""

    def __init__(self, options: TransportOptions, topic: str) -> None:
        """Build it; the client is made when something is wanted for the first time."""
        self._options = options
        self._topic = topic
        self._wanted: dict[int, deque[int]] = {}
        """By partition, rising offsets; the first is the one that comes next."""
        self._consumer: forks.Consumer | None = None

    @property
    def is_busy(self) -> bool:
        """Whether something is to come."""
        return bool(self._wanted)

    def want(self, partition: int, offsets: Iterable[int]) -> None:
        """Fetch records; those that are on their way already are not asked for twice."""
        more = set(offsets)
        if not more:
            return
        under_way = self._wanted.get(partition, ())
        new = sorted(more.union(under_way))
        is_first = not under_way or new[0] != under_way[0]
        self._wanted[partition] = deque(new)
        if is_first:
            self._begin_at(partition, new[0])

    def forget(self, partitions: Iterable[int]) -> None:
        """Fetch nothing more of partitions."""
        for partition in partitions:
            if self._wanted.pop(partition, None) is not None:
                self._end(partition)

    def step(self) -> dict[int, list[LogRecord]]:
        """Return the wanted records that have come, by partition. A record that is no more is passed over."""
        found: dict[int, list[LogRecord]] = {}
        if not self._wanted or self._consumer is None:
            return found
        for message in self._consumer.consume(BATCH, 0):
            partition = message.partition() or 0
            wanted = self._wanted.get(partition)
            if wanted is None:
                continue
            error = message.error()
            if error is not None:
                self._accept(partition, error)
                continue
            offset = message.offset() or 0
            if offset < wanted[0]:
                continue
            while wanted and wanted[0] < offset:
                wanted.popleft()
            if wanted and wanted[0] == offset:
                wanted.popleft()
                found.setdefault(partition, []).append(LogRecord(message))
            if not wanted:
                del self._wanted[partition]
                self._end(partition)
            elif wanted[0] - offset > NEAR:
                self._begin_at(partition, wanted[0])
        return found

    def close(self) -> None:
        """Let go of the client."""
        self._wanted.clear()
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()

    def _accept(self, partition: int, error: KafkaError) -> None:
        if error.code() == KafkaError._PARTITION_EOF:
            # Behind the end there is nothing to wait for: what was wanted is no more.
            del self._wanted[partition]
            self._end(partition)
        else:
            logger.debug("%s [%d]: %s", self._topic, partition, error)

    def _begin_at(self, partition: int, offset: int) -> None:
        if self._consumer is None:
            self._consumer = forks.new_consumer(self._options.reader_config())
        self._end(partition)
        self._consumer.incremental_assign([TopicPartition(self._topic, partition, offset)])

    def _end(self, partition: int) -> None:
        if self._consumer is None:
            return
        held: Sequence[TopicPartition] = self._consumer.assignment()
        if any(place.partition == partition for place in held):
            try:
                self._consumer.incremental_unassign([TopicPartition(self._topic, partition)])
            except KafkaException as error:
                logger.debug("%s [%d]: %s", self._topic, partition, error)
