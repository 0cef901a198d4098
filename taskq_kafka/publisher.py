"""What a process publishes through: records to queues, and dead letters to where they are put aside.

Any thread may call. Topics that are missing are made on first use, unless `auto_create` is off; each is looked up once a process.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from .admin import Admin
from .deadletters import DeadLetter, letter_of
from .errors import TaskqKafkaError
from .options import TransportOptions
from .producer import Outgoing, Route, SharedProducer
from .shared import shared
from .topics import dlq_topic, topic_of


class Publisher:
    """The producer of a process for one configuration, with its two kinds of topics."""

    def __init__(self, options: TransportOptions) -> None:
        """Build it; nothing is connected before the first record."""
        self._options = options
        self._producer = SharedProducer(options)
        self._queues = Route(
            partial(topic_of, options.prefix), self._make_queue if options.auto_create else None
        )
        self._dead = Route(
            partial(dlq_topic, options.prefix), self._make_dead if options.auto_create else None
        )

    def publish(
        self, messages: Sequence[Outgoing], *, timeout: float
    ) -> list[TaskqKafkaError | None]:
        """Write records and wait until the broker has acknowledged each, at most `timeout` seconds for all.

        Never raises for what happens to a record. A process that dies meanwhile may have sent some of them.

        Returns:
            For each message None, or the error. An error means unknown, not unsent, unless its `sent` is False.
        """
        return self._producer.send(messages, self._queues, timeout=timeout)

    def dead_letters(
        self, letters: Sequence[DeadLetter], *, timeout: float
    ) -> list[TaskqKafkaError | None]:
        """Write dead letters, each to its queue's dead-letter topic, as `publish` does."""
        records = [letter_of(letter) for letter in letters]
        return self._producer.send(records, self._dead, timeout=timeout)

    def close(self, *, timeout: float) -> None:
        """Wait for what is under way, at most `timeout` seconds, and let go of the connections."""
        self._producer.close(timeout=timeout)

    def _make_queue(self, queue: str, timeout: float) -> None:
        Admin.shared(self._options).create_queue(queue, timeout=timeout)

    def _make_dead(self, queue: str, timeout: float) -> None:
        Admin.shared(self._options).create_dead_letter_topic(queue, timeout=timeout)


def get_publisher(options: TransportOptions) -> Publisher:
    """Return this process's publisher for these options; a forked child gets its own."""
    return shared(Publisher, options)
