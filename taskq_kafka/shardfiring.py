"""Writes what is due in all shards: as much as fits in one transaction, and what cannot be written aside, or later.

A transaction that was aborted for a record's sake is tried in halves, until the record stands alone and is given up as a letter.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from typing import Final

from .errors import RequestRefused, TaskqKafkaError, TopicMissing
from .firinglines import FiringLines, Written, batches
from .firingtopics import FiringTopics
from .options import TransportOptions
from .restingshards import RestingShards
from .shardowner import ShardOwner
from .shardproducer import ShardProducer
from .shardset import Due, parts, settle
from .spread import Spread
from .transactions import Broken, Refused

logger = logging.getLogger(__name__)

MOST_BYTES: Final = 500_000
"""To one partition in one transaction, so that it is one batch (librdkafka's `batch.size` is a million): with two of them in flight
the second may be taken and the first refused, which the client would not see."""


MOST_IN_ALL: Final = 4_000_000
"""In one transaction. One that is too large for its seconds (a slow line, a quota of the broker's) is so each time it is tried. So
after each whose end is unknown half as much goes in the next, down to what one partition may get, and twice as much after one that
was written."""


class ShardFiring:
    """Of one host; its thread calls it."""

    def __init__(
        self,
        options: TransportOptions,
        log: str,
        topic: str,
        *,
        owner: ShardOwner,
        producer: ShardProducer,
        resting: RestingShards,
        topics: FiringTopics,
        unmade_seconds: float,
    ) -> None:
        """Prepare.

        Args:
            options: The connection's.
            log: The log's name.
            topic: Its topic.
            owner: Makes another producer the shards' own after a refusal.
            producer: What is written with.
            resting: Where shards stand whose firings are left for later.
            topics: Says what can be written to.
            unmade_seconds: Until a shard is opened anew that has a firing to a queue that could not be made.
        """
        self._options = options
        self._log = log
        self._topic = topic
        self._owner = owner
        self._producer = producer
        self._resting = resting
        self._topics = topics
        self._lines = FiringLines(options.prefix, topic, topics.letters, Spread())
        self._unmade_seconds = unmade_seconds
        self._most_in_all = MOST_IN_ALL

    def fire(self, due: Sequence[Due]) -> None:
        """Write firings, as many as fit in one transaction; put aside what cannot be written.

        If the process dies in here, the heir of its shards ends what is open.

        Raises:
            Broken: It is not known what was written.
            KafkaException: The shards are not ours any more, or there was no answer.
            TaskqKafkaError: No broker answered.
        """
        good = []
        for each in due:
            refusal = self._topics.refusal(each.firing)
            if refusal is None:
                good.append(each)
            elif isinstance(refusal, RequestRefused):
                self._postpone(each, refusal)
            else:
                self._give_up(each, refusal)
        for batch in batches(self._written(good), MOST_BYTES, self._most_in_all):
            self._try(batch)

    def _written(self, due: Sequence[Due]) -> Iterator[Written]:
        producer = self._producer.present
        return self._lines.write(due, (lambda _: None) if producer is None else producer.partitions)

    def _try(self, written: Sequence[Written]) -> None:
        due = [each.due for each in written]
        try:
            self._write(written)
        except Refused as refused:
            # The abort is confirmed: nothing was written, so the memory is right, and only time is lost.
            self._owner.renew()
            if len(due) == 1:
                error = self._topics.note_rights(due[0].firing, refused.error)
                self._give_up(due[0], error)
                return
            owners = [place for place, each in enumerate(written) for _ in each.lines]
            for part in parts(due, {owners[number] for number in refused.suspects}):
                self.fire(part)

    def _write(self, written: Sequence[Written]) -> None:
        producer = self._producer.present
        if producer is None:  # lost inside a poll, with all shards
            raise Broken(RequestRefused(0, "lost", "the shards are not ours"))
        lines = [line for each in written for line in each.lines]
        for topic in {topic for topic, *_ in lines}:
            is_known = producer.knows(topic)
            if not is_known and not producer.look_up(topic, timeout=self._options.connect_timeout):
                raise Broken(TopicMissing(topic))
        try:
            producer.write(lines)
        except Broken:
            self._most_in_all = max(MOST_BYTES, self._most_in_all // 2)
            raise
        self._most_in_all = min(MOST_IN_ALL, self._most_in_all * 2)
        self._owner.note_written()
        self._resting.note_written()
        settle([each.due for each in written])

    def _give_up(self, due: Due, error: TaskqKafkaError) -> None:
        """Put what cannot be fired aside, as a letter."""
        letter = due.owner.shard.give_up(due.firing, "refused", str(error))
        refusal = self._topics.refusal(letter)
        if refusal is None:
            try:
                self._write([*self._written([Due(due.owner, letter)])])
                return
            except Refused as refused:
                refusal = refused.error
                self._owner.renew()
        self._rest(due, refusal)

    def _rest(self, due: Due, error: TaskqKafkaError) -> None:
        """Leave a firing for later of which not even the letter could be written; the others of its shard go on."""
        partition = due.owner.partition
        wait = self._resting.rest(partition, time.monotonic())
        logger.error(
            "%s [%d]: %s cannot be sent, nor put aside as a letter: %s; tried again in %.0f s",
            self._topic,
            partition,
            due.firing.name,
            error,
            wait,
            extra={"event": "shards.stuck", "log": self._log, "partition": partition},
        )

    def _postpone(self, due: Due, error: TaskqKafkaError) -> None:
        """Leave a firing for later whose queue cannot be made now, which is no fault of its own; the others of its shard go on."""
        partition = due.owner.partition
        if partition in self._resting:
            return
        self._resting.rest_for(partition, self._unmade_seconds, time.monotonic())
        logger.error(
            "%s [%d]: %s, and perhaps others, cannot be sent now, as a topic could not be made: %s; tried again in %.0f s",
            self._topic,
            partition,
            due.firing.name,
            error,
            self._unmade_seconds,
            extra={"event": "shards.stuck", "log": self._log, "partition": partition},
        )
