"""Reading a log from its beginning, and then what comes later: without a group, one thread.

Everybody who follows reads all of it, so this is for logs that are small and concern each process.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from confluent_kafka import OFFSET_BEGINNING, KafkaException, Message, TopicPartition

from .codes import RETRIABLE
from .errors import map_error
from .forks import Consumer, Owner, new_consumer
from .logrecords import LogRecord
from .options import TransportOptions
from .reader import BATCH, PARTITION_EOF
from .topics import topic_of

LOOK_AGAIN: Final = 2.0
"""Seconds between two looks for a topic that does not exist; it is made with the log's first record."""


class LogFollower:
    """Follows one log. Used by one thread, in the process that made it."""

    def __init__(
        self, options: TransportOptions, log: str, *, partitions: Callable[[], int]
    ) -> None:
        """Prepare; nothing is connected before the first `fetch`.

        Args:
            options: The connection's options.
            log: The log's name.
            partitions: Asks the broker how many partitions it has; 0 for none.
        """
        self._options = options
        self._topic = topic_of(options.prefix, log)
        self._partitions = partitions
        self._owner = Owner()
        self._consumer: Consumer | None = None
        self._unread: set[int] | None = None
        """Partitions whose end was not seen yet; None before the first look."""

    @property
    def is_caught_up(self) -> bool:
        """Whether all that stood there at the first `fetch` has been returned."""
        return self._unread is not None and not self._unread

    def fetch(self, timeout: float) -> list[LogRecord]:
        """Return what has come, each partition in its order; waits up to `timeout` seconds for the first.

        The first look does not wait where there is nothing to read: then it is caught up, and that is news.

        Raises:
            TaskqKafkaError: No broker answered the first question, or we may not read it.
        """
        self._owner.require()
        if self._consumer is None:
            is_first = self._unread is None
            if not self._begin():
                if not is_first:
                    # Not a wait for an event: nobody tells that a topic was made.
                    time.sleep(min(timeout, LOOK_AGAIN))
                return []
        assert self._consumer is not None
        try:
            first = self._consumer.poll(timeout)
            messages = [] if first is None else [first, *self._consumer.consume(BATCH, 0)]
        except KafkaException as error:
            raise map_error(error, address=self._options.bootstrap) from error
        return [LogRecord(message) for message in messages if self._is_record(message)]

    def close(self) -> None:
        """Let go of the client."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None and self._owner.is_here():
            consumer.close()

    def _begin(self) -> bool:
        """Begin to read at the start of each partition; return whether there is one."""
        count = self._partitions()
        if self._unread is None:
            self._unread = set(range(count))
        if not count:
            return False
        self._consumer = new_consumer(self._options.reader_config())
        self._consumer.assign(
            [TopicPartition(self._topic, number, OFFSET_BEGINNING) for number in range(count)]
        )
        return True

    def _is_record(self, message: Message) -> bool:
        error, number = message.error(), message.partition()
        if error is None:
            return True
        if error.code() == PARTITION_EOF:
            if self._unread is not None and number is not None:
                self._unread.discard(number)
        elif error.code() not in RETRIABLE:
            raise map_error(error, address=self._options.bootstrap, topic=self._topic)
        return False
