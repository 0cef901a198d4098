"""Whether the topics that a firing goes to can be written to, before it is tried; makes those that are missing."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Final

from .admin import Admin
from .errors import RequestRefused, TaskqKafkaError, TopicInvalid, TopicMissing, TopicUnauthorized
from .options import TransportOptions
from .shardproducer import ShardProducer
from .shardset import Firing
from .shared import shared
from .topics import TIMERS, dlq_topic, topic_of

FORBIDDEN_SECONDS: Final = 10.0
"""For which a queue counts as one we may not write to, without another try."""


class FiringTopics:
    """Of one host; its thread calls it."""

    def __init__(
        self, options: TransportOptions, producer: ShardProducer, *, unmade_seconds: float
    ) -> None:
        """Begin with nothing known.

        Args:
            options: The connection's.
            producer: Is asked which topics there are.
            unmade_seconds: Until a queue is tried again that could not be made.
        """
        self._options = options
        self._ask = partial(shared, Admin, options)
        self._producer = producer
        self._unmade_seconds = unmade_seconds
        self._forbidden: dict[str, tuple[float, TaskqKafkaError]] = {}
        """Queues that we may not write to, or that could not be made, as far as was seen lately; until when, and how the broker put
        it."""
        self.letters = dlq_topic(options.prefix, TIMERS)
        """The topic of dead letters."""

    def refusal(self, firing: Firing) -> TaskqKafkaError | None:
        """Return why a firing cannot be written, as far as its topics tell; missing ones are made, if that is allowed.

        Raises:
            TaskqKafkaError: No broker answered.
        """
        timeout = self._options.connect_timeout
        try:
            if self._is_known(firing):
                return None
            for queue in {message.queue for message in firing.messages}:
                until, forbidden = self._forbidden.get(queue, (0.0, None))
                if forbidden is not None and time.monotonic() < until:
                    return forbidden
                make = partial(self._ask().create_queue, queue, timeout=timeout)
                try:
                    self._make_sure(topic_of(self._options.prefix, queue), make)
                except RequestRefused as error:
                    # Not asked again for each of many that are due.
                    self._forbidden[queue] = (time.monotonic() + self._unmade_seconds, error)
                    return error
            if firing.letters:
                make = partial(self._ask().create_dead_letter_topic, TIMERS, timeout=timeout)
                self._make_sure(self.letters, make)
        except (TopicMissing, TopicUnauthorized, TopicInvalid, RequestRefused) as error:
            return error
        return None

    def _is_known(self, firing: Firing) -> bool:
        """Whether all its topics were seen, and none refuses us now: so it is with nearly all of a thousand."""
        if self._forbidden:
            now = time.monotonic()
            self._forbidden = {q: each for q, each in self._forbidden.items() if each[0] > now}
        producer = self._producer.present
        if producer is None or self._forbidden or firing.letters:
            return False
        prefix = self._options.prefix
        return all(producer.knows(topic_of(prefix, each.queue)) for each in firing.messages)

    def note_rights(self, firing: Firing, error: TaskqKafkaError) -> TaskqKafkaError:
        """Remember a queue that we may not write to: the next ones to it need not be tried. Returns the error that names it."""
        queues = {message.queue for message in firing.messages}
        if not isinstance(error, TopicUnauthorized) or len(queues) != 1:
            return error
        (queue,) = queues
        named = TopicUnauthorized(topic_of(self._options.prefix, queue), error.why)
        self._forbidden[queue] = (time.monotonic() + FORBIDDEN_SECONDS, named)
        return named

    def _make_sure(self, topic: str, create: Callable[[], None]) -> None:
        producer = self._producer.present
        if producer is None or producer.knows(topic):
            return
        timeout = self._options.connect_timeout
        if producer.look_up(topic, timeout=timeout):
            return
        if not self._options.auto_create:
            raise TopicMissing(topic)
        create()
        producer.look_up(topic, timeout=timeout)
