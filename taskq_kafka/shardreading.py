"""Gives records to the shards they are of, and says when one is read to its end: only then it fires.

A `read_committed` reader also stops where somebody else's transaction is open: behind that may stand what a former owner has fired.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Final

from confluent_kafka import KafkaError, Message

from .logrecords import LogRecord
from .shardmember import ShardMember
from .shardowner import ShardOwner
from .shardset import OpenShard, ShardSet

logger = logging.getLogger(__name__)

HIDDEN_SECONDS: Final = 1.0
"""After which it is said that a transaction hides the end: one of an owner that fires is over in milliseconds."""

HANGING_SECONDS: Final = 60.0
"""After which a transaction that holds up a shard is ended by nobody: the broker ends ours after 10 to 20."""


class ShardReading:
    """Of one host; its thread calls it."""

    def __init__(self, log: str, topic: str, shards: ShardSet, owner: ShardOwner) -> None:
        """Prepare.

        Args:
            log: The log's name.
            topic: Its topic.
            shards: The open ones.
            owner: Forgets shards that have to be read anew.
        """
        self._log = log
        self._topic = topic
        self._shards = shards
        self._owner = owner

    def take_in(self, member: ShardMember, messages: Sequence[Message]) -> None:
        """Apply what a poll returned; what belongs to no open shard was fetched before its partition went away.

        Raises:
            TaskqKafkaError: Nothing will come until somebody acts.
        """
        member.watch(self._shards.positions, is_silent=not messages)
        for message in messages:
            error = message.error()
            if error is not None:
                self._take_event(member, message, error)
                continue
            opened = self._shards.get(message.partition())
            if opened is not None:
                record = LogRecord(message)
                opened.position = record.offset + 1
                opened.shard.apply(record)

    def say_hidden(self) -> None:
        """Say, once for each shard, that a transaction holds it up, and again when it is one that will not end by itself."""
        now = time.monotonic()
        for opened in self._shards.held_longer_than(HIDDEN_SECONDS, now):
            if not opened.held_said:
                opened.held_said = True
                self._say_held_up(opened)
        for opened in self._shards.held_longer_than(HANGING_SECONDS, now):
            opened.held_at = None
            logger.error(
                "%s [%d]: the transaction that hides its end is open for %.0f s: it hangs, and nothing is sent from here; "
                "find it and abort it with Kafka's kafka-transactions.sh",
                self._topic,
                opened.partition,
                HANGING_SECONDS,
                extra={"event": "shards.held_up", "log": self._log, "partition": opened.partition},
            )

    def _take_event(self, member: ShardMember, message: Message, error: KafkaError) -> None:
        opened = self._shards.get(message.partition())
        if error.code() == KafkaError._PARTITION_EOF:
            if opened is not None:
                opened.position = max(opened.position, message.offset() or 0)
                if not opened.ready:
                    self._note_end(member, opened, message.offset() or 0)
        elif error.code() == KafkaError._AUTO_OFFSET_RESET:
            if opened is not None:
                self._owner.forget([opened.partition])
        else:
            self._owner.refuse_if_new(error)
            member.accept(error)

    def _note_end(self, member: ShardMember, opened: OpenShard, offset: int) -> None:
        """Let a shard fire once all is read that stood in its partition when it was opened."""
        if opened.end is None:
            opened.end = member.written_until(opened.partition)
            if offset < opened.end:
                opened.held_at = time.monotonic()
        if offset >= opened.end:
            opened.held_at = None
            opened.ready = self._shards.was_ready = True
            logger.debug("%s [%d] is read to its end", self._topic, opened.partition)

    def _say_held_up(self, opened: OpenShard) -> None:
        logger.warning(
            "%s [%d]: somebody else's open transaction hides the end of the log; nothing is sent from here until it ends",
            self._topic,
            opened.partition,
            extra={"event": "shards.held_up", "log": self._log, "partition": opened.partition},
        )
