"""Reading records without a group: what stands at some offsets, or all there is in a topic.

By `assign()`, which takes milliseconds and commits nothing. The ends are told by librdkafka's end-of-partition events: offsets have
holes, so comparing positions with ends would wait for records that do not exist.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
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

    def __init__(self, options: TransportOptions) -> None:
        """Build it; the client is made at the first read and kept, as making one takes longer than reading."""
        self._options = options
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

    def close(self) -> None:
        """Let go of the client."""
        with self._lock:
            consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()

    def _read(
        self, starts: list[TopicPartition], *, only_first: bool, timeout: float
    ) -> Iterator[Message]:
        """Yield records until each partition has come to its end (or gave one, with `only_first`)."""
        deadline = monotonic() + timeout
        if not starts:
            return
        with self._assigned(starts, timeout) as consumer:
            open_places = {(start.topic, start.partition) for start in starts}
            while open_places:
                remaining = deadline - monotonic()
                if remaining <= 0:
                    raise self._too_late(timeout)
                # consume() alone would wait for a full batch.
                first = consumer.poll(remaining)
                arrived = [] if first is None else [first, *consumer.consume(BATCH, 0)]
                for message in arrived:
                    place = (message.topic(), message.partition())
                    error = message.error()
                    if error is not None:
                        if error.code() != PARTITION_EOF:
                            raise map_error(error, topic=str(place[0]))
                        open_places.discard(place)
                    elif place in open_places:
                        yield message
                        if only_first:
                            open_places.discard(place)

    @contextmanager
    def _assigned(self, starts: list[TopicPartition], timeout: float) -> Iterator[Consumer]:
        """Hold the client, reading from these places."""
        if not self._lock.acquire(timeout=timeout):
            raise self._too_late(timeout)
        try:
            if self._consumer is None:
                config = self._options.reader_config()
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
