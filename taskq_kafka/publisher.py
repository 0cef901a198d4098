"""What a process publishes through: records to queues, and dead letters to where they are put aside.

Any thread may call. Topics that are missing are made on first use, unless `auto_create` is off; each is looked up once a process.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from time import monotonic
from typing import Final

from .deadletters import DeadLetter, Letter, letter_of
from .errors import LetterTooLarge, RecordTooLarge, TaskqKafkaError
from .options import TransportOptions
from .producer import Outgoing, Route, SharedProducer
from .shared import shared
from .topics import dlq_topic, topic_of

BULK: Final = 100
"""Records from which on a send is worth the millisecond for which they are collected."""


class Publisher:
    """The producers of a process for one configuration, with its two kinds of topics.

    Many records at once have a client of their own, made by the first such send. Order does not suffer: one send begins after
    the other was acknowledged or has failed, and of sends at the same time none is first.
    """

    def __init__(self, options: TransportOptions) -> None:
        """Build it; nothing is connected before the first record."""
        self._options = options
        self._producer = SharedProducer(options.producer_config)
        self._bulk = SharedProducer(options.bulk_config)
        self._compressing = SharedProducer(options.compressing_config)
        self._queues = self._route_to_queues()
        # Apart, because looking a topic up also connects the client that is to write to it.
        self._bulk_queues = self._route_to_queues()
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
        if len(messages) >= BULK:
            return self._bulk.send(messages, self._bulk_queues, timeout=timeout)
        return self._producer.send(messages, self._queues, timeout=timeout)

    def dead_letters(
        self, letters: Sequence[DeadLetter], *, timeout: float
    ) -> list[TaskqKafkaError | None]:
        """Write dead letters, each to its queue's dead-letter topic, as `publish` does.

        One that is too large goes out compressed: its source may have been compressed by whoever wrote it, and is what counts
        against a topic's limit.
        """
        deadline = monotonic() + timeout
        records = [letter_of(letter) for letter in letters]
        errors = self._producer.send(records, self._dead, timeout=timeout)
        for index, error in enumerate(errors):
            if isinstance(error, RecordTooLarge):
                errors[index] = self._send_compressed(records[index], deadline - monotonic())
        return errors

    def _send_compressed(self, letter: Letter, timeout: float) -> TaskqKafkaError | None:
        """Write one letter alone, so that no other one in its batch makes it larger."""
        (error,) = self._compressing.send([letter], self._dead, timeout=max(timeout, 0))
        if not isinstance(error, RecordTooLarge):
            return error
        topic = self._dead.topic_of(letter.queue)
        return LetterTooLarge(letter.queue, topic, len(letter.value), error.why)

    def append(
        self, records: Sequence[Outgoing], logs: Route, *, timeout: float
    ) -> list[TaskqKafkaError | None]:
        """Write records to the logs that their `queue` names, as `publish` does."""
        return self._producer.send(records, logs, timeout=timeout)

    def prepare(self, queue: str, *, timeout: float) -> TaskqKafkaError | None:
        """Make sure that a queue's topic exists, as before a record to it; return the error if it does not."""
        return self._producer.prepare(queue, self._queues, timeout=timeout)

    def close(self, *, timeout: float) -> None:
        """Wait for what is under way, at most `timeout` seconds, and let go of the connections."""
        deadline = monotonic() + timeout
        for producer in (self._producer, self._bulk, self._compressing):
            producer.close(timeout=max(deadline - monotonic(), 0))

    def _route_to_queues(self) -> Route:
        create = self._make_queue if self._options.auto_create else None
        return Route(partial(topic_of, self._options.prefix), create)

    def _make_queue(self, queue: str, timeout: float) -> None:
        from .admin import (
            Admin,
        )  # only who makes a topic needs it: not the first send of most programs

        Admin.shared(self._options).create_queue(queue, timeout=timeout)

    def _make_dead(self, queue: str, timeout: float) -> None:
        from .admin import Admin  # as in _make_queue

        Admin.shared(self._options).create_dead_letter_topic(queue, timeout=timeout)


def get_publisher(options: TransportOptions) -> Publisher:
    """Return this process's publisher for these options; a forked child gets its own."""
    return shared(Publisher, options)
