"""Makes records of what one poll brings, and acts on the events that come the same way.

A rebalance inside of a poll makes doubtful what that poll brought: it is read again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from confluent_kafka import KafkaError, Message

from .assignment import Owned
from .errors import COMMIT_REPEAT, map_error
from .membership import Membership
from .options import TransportOptions
from .places import Places
from .queuemoves import QueueMoves
from .records import Record, headers_of

logger = logging.getLogger(__name__)

_PASSING_ERRORS = COMMIT_REPEAT | {
    KafkaError._MAX_POLL_EXCEEDED,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
}
"""Errors of a fetch after which the Consumer goes on by itself."""

_PLACES = {KafkaError._PARTITION_EOF, KafkaError._AUTO_OFFSET_RESET}
"""Events that are about a place in a partition."""


class Arrivals:
    """Of one consumer; its owner calls it."""

    def __init__(
        self,
        options: TransportOptions,
        queue: str,
        membership: Membership,
        moves: QueueMoves,
        tags: Iterator[int],
    ) -> None:
        """Prepare.

        Args:
            options: The connection's options.
            queue: The consumer's.
            membership: What is polled.
            moves: Told of polls, which its fences are made of.
            tags: Makes delivery tags.
        """
        self._options = options
        self._queue = queue
        self._membership = membership
        self._moves = moves
        self._tags = tags
        self._places = Places(options, queue, membership)

    def poll(self, limit: int, timeout: float) -> list[Record]:
        """Return the records of what arrived first, which may be none: events come the same way.

        Raises:
            TaskqKafkaError: Nothing will come until somebody acts (no rights).
        """
        membership = self._membership
        rebalances = membership.rebalances
        member = self._moves.member()
        # consume(n, timeout) would wait for all n: poll for the first, then take what is there.
        first = membership.consumer.poll(timeout)
        membership.watch(is_silent=first is None)
        if first is None:
            return []
        messages = [first]
        if limit > 1:
            messages += membership.consumer.consume(limit - 1, 0)
        if membership.rebalances != rebalances:
            messages = self._without_doubtful(messages, rebalances)
        accepted = (self._accept(message) for message in messages)
        records = [record for record in accepted if record is not None]
        if records:
            self._moves.note_poll(records[0].delivery_tag, member)
        return records

    def _without_doubtful(self, messages: list[Message], rebalances: int) -> list[Message]:
        """Leave out messages of partitions that were assigned inside the call that returned them, and read these again.

        Nothing on such a message tells whether it was fetched before or after the rebalance. An end that was reached before would
        hide all that the new assignment begins with.
        """
        assignment = self._membership.assignment
        fresh = {owned.partition: owned for owned in assignment if owned.rebalance > rebalances}
        doubtful = {
            message.partition()
            for message in messages
            if message.partition() in fresh and _is_of_place(message)
        }
        for partition in doubtful:
            if partition is not None:
                self._membership.seek(fresh[partition])
        return [message for message in messages if message.partition() not in doubtful]

    def _accept(self, message: Message) -> Record | None:
        """Enter a fetched message into the tracker; None if it is an event, void, settled or in flight already."""
        error = message.error()
        if error is not None:
            self._on_error(message, error)
            return None
        partition, offset = message.partition(), message.offset()
        if partition is None or offset is None:  # of a message without error never
            return None
        owned = self._membership.assignment.get(partition)
        if owned is None:
            return None
        owned.position = offset + 1
        if not owned.offsets.deliver(offset):
            return None
        timestamp_ms = message.timestamp()[1]
        if owned.unproven:
            self._places.prove(owned, timestamp_ms)
        expiry = owned.offsets.expiry
        mark = owned.offsets.mark(offset)
        return Record(
            self._queue,
            partition,
            offset,
            timestamp_ms,
            message.key(),
            message.value(),
            headers_of(message),
            next(self._tags),
            owned.epoch,
            mark is not None,
            expiry is not None and offset < expiry.offset and timestamp_ms < expiry.cutoff_ms,
            *(
                (mark.deliveries, mark.deaths, mark.is_suspect, mark.lived)
                if mark is not None
                else ()
            ),
        )

    def _on_error(self, message: Message, error: KafkaError) -> None:
        """Act on what stands in a message's place: the end of a partition, an offset outside the log, trouble."""
        code, partition = error.code(), message.partition()
        owned = None if partition is None else self._membership.assignment.get(partition)
        if code == KafkaError._PARTITION_EOF:
            if owned is not None:
                self._reach_end(owned, message.offset())
        elif code == KafkaError._AUTO_OFFSET_RESET:
            if owned is not None:
                self._places.find(owned)
        elif error.fatal():
            self._membership.refuse_protocol(error)
        elif code in _PASSING_ERRORS:
            logger.warning(
                "queue %s: %s; the consumer goes on by itself",
                self._queue,
                error.str(),
                extra={"event": "consumer.error", "queue": self._queue, "error": error.name()},
            )
        else:
            topic = self._membership.topic
            raise map_error(error, address=self._options.bootstrap, topic=topic)

    def _reach_end(self, owned: Owned, offset: int | None) -> None:
        """Take note of an end of partition: behind it transaction markers would show as lag for ever."""
        owned.unproven = False
        if offset is not None:
            owned.position = max(owned.position, offset)
            owned.dirty |= owned.offsets.reach(offset)


def _is_of_place(message: Message) -> bool:
    """Return whether a message is a record, or says where its partition ends or begins."""
    error = message.error()
    return error is None or error.code() in _PLACES
