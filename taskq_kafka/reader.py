"""Reading records without a group: what stands at some offsets, or all there is in a topic.

By `assign()`, which takes milliseconds and commits nothing. The ends are told by librdkafka's end-of-partition events: offsets have
holes, so comparing positions with ends would wait for records that do not exist.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Final

from confluent_kafka import OFFSET_BEGINNING, KafkaException, Message, TopicPartition

from .clientlog import ErrorLog
from .codes import Code
from .errors import ConnectionBroken, map_error
from .forks import Consumer, new_consumer
from .options import TransportOptions

BATCH: Final = 5000
"""Records taken from librdkafka's queue at once."""

PARTITION_EOF: Final = -191
"""librdkafka's event for the end of a partition."""


class Reader:
    """One Consumer for reads by `assign()`. Any thread may call it; one read runs at a time."""

    def __init__(self, options: TransportOptions, *, isolation: str = "") -> None:
        """Build it; the client is made at the first read and kept, as making one takes longer than reading.

        Args:
            options: The connection's options.
            isolation: What it sees, in Kafka's words; empty: what is committed.
        """
        self._options = options
        self._isolation = isolation
        self._lock = threading.Lock()
        self._consumer: Consumer | None = None
        self._error_log: ErrorLog | None = None

    def read_all(self, topic: str, partitions: Sequence[int], *, timeout: float) -> list[Message]:
        """Return all records of a topic, by partition in order; blocks until the end of each was seen.

        Raises:
            TaskqKafkaError: The broker did not answer within `timeout` seconds.
        """
        starts = [TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions]
        return list(self._read(starts, only_first=False, timeout=timeout))

    def read_first(
        self, starts: Iterable[tuple[str, int, int]], *, timeout: float
    ) -> list[Message]:
        """Return the first record at or above each (topic, partition, offset); fewer where there is none.

        Raises:
            TaskqKafkaError: The broker did not answer within `timeout` seconds.
        """
        places = [TopicPartition(topic, number, offset) for topic, number, offset in starts]
        return list(self._read(places, only_first=True, timeout=timeout))

    def scan(
        self, starts: Iterable[tuple[str, int, int]], *, until_ms: int | None, patience: float
    ) -> Generator[Message, None, None]:
        """Yield all records from each (topic, partition, offset) on, as they arrive; the caller takes all of them.

        Args:
            starts: Where to begin.
            until_ms: A partition ends before its first record with a later timestamp; None: at its end.
            patience: Seconds without anything new after which it is given up.

        Raises:
            TaskqKafkaError: The broker sent nothing for so long.
        """
        places = [TopicPartition(topic, number, offset) for topic, number, offset in starts]
        return self._read(
            places, only_first=False, timeout=patience, until_ms=until_ms, is_patient=True
        )

    def close(self) -> None:
        """Let go of the client."""
        with self._lock:
            consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()

    def _read(
        self,
        starts: list[TopicPartition],
        *,
        only_first: bool,
        timeout: float,
        until_ms: int | None = None,
        is_patient: bool = False,
    ) -> Generator[Message, None, None]:
        """Yield records until each partition has come to its end: gave one, with `only_first`, or a later one than `until_ms`.

        With `is_patient` the time begins anew with all that arrives.
        """
        if not starts:
            return
        span = _Span(starts, only_first=only_first, until_ms=until_ms)
        deadline = monotonic() + timeout
        with self._assigned(starts, timeout) as consumer:
            while span.is_open:
                remaining = deadline - monotonic()
                if remaining <= 0:
                    raise self._too_late(timeout)
                # consume() alone would wait for a full batch.
                first = consumer.poll(remaining)
                arrived = [] if first is None else [first, *consumer.consume(BATCH, 0)]
                if arrived and is_patient:
                    deadline = monotonic() + timeout
                for message in arrived:
                    if span.takes(message):
                        yield message

    @contextmanager
    def _assigned(self, starts: list[TopicPartition], timeout: float) -> Iterator[Consumer]:
        """Hold the client, reading from these places."""
        if not self._lock.acquire(timeout=timeout):
            raise self._too_late(timeout)
        try:
            if self._consumer is None:
                config = self._options.reader_config()
                if self._isolation:
                    config["isolation.level"] = self._isolation
                self._error_log = config["error_cb"]
                self._consumer = new_consumer(config)
            self._consumer.assign(starts)
            try:
                yield self._consumer
            finally:
                self._consumer.unassign()
        except KafkaException as error:
            raise map_error(error, address=self._options.bootstrap) from error
        finally:
            self._lock.release()

    def _too_late(self, timeout: float) -> Exception:
        """Return the error of a read that was not finished in time."""
        why = f"reading was not finished within {timeout:g} s"
        error = ConnectionBroken(Code.LOCAL_TIMED_OUT, "_TIMED_OUT", why)
        return error if self._error_log is None else self._error_log.explain(error)


class _Span:
    """Which of the records that arrive belong to a read, and which partitions are not yet at their end."""

    def __init__(
        self, starts: Iterable[TopicPartition], *, only_first: bool, until_ms: int | None
    ) -> None:
        self._open: set[tuple[str | None, int | None]] = {
            (start.topic, start.partition) for start in starts
        }
        self._only_first = only_first
        self._until_ms = until_ms

    @property
    def is_open(self) -> bool:
        """Whether something is to come."""
        return bool(self._open)

    def takes(self, message: Message) -> bool:
        """Return whether a message is a record of the read; take note if it ends its partition.

        Raises:
            TaskqKafkaError: It is an error in a record's place.
        """
        place = (message.topic(), message.partition())
        error = message.error()
        if error is not None:
            if error.code() != PARTITION_EOF:
                raise map_error(error, topic=str(place[0]))
            self._open.discard(place)
            return False
        is_wanted = place in self._open and not self._is_later(message)
        if self._only_first or not is_wanted:
            self._open.discard(place)
        return is_wanted

    def _is_later(self, message: Message) -> bool:
        timestamp_ms: int = message.timestamp()[1]
        return self._until_ms is not None and timestamp_ms > self._until_ms
