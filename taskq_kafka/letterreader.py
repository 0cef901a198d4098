"""Reading the dead letters of a queue, to the very end of their topic."""

from __future__ import annotations

import time
from collections.abc import Sequence
from threading import Event
from typing import Final

from confluent_kafka import IsolationLevel, TopicPartition
from confluent_kafka.admin import OffsetSpec

from .deadletters import StoredDeadLetter, newest_letters
from .errors import TransactionOpen
from .options import TransportOptions
from .questions import LOOK_AGAIN, Questions
from .reader import Reader
from .topics import dlq_topic

COMMIT_PATIENCE: Final = 2.0
"""Seconds for transactions to end whose commit was acknowledged: the broker writes their marks a moment later."""

FOREIGN_PATIENCE: Final = 25.0
"""Seconds for another program's transaction to end: one that was killed is timed out after 10 s, by a look every 10 s."""


class LetterReader:
    """Reads what stands. Any thread may call it; every call blocks."""

    def __init__(self, options: TransportOptions, questions: Questions, reader: Reader) -> None:
        """Read with these; nothing is asked yet."""
        self._prefix = options.prefix
        self._questions = questions
        self._reader = reader

    def read(
        self, queue: str, *, timeout: float, must_be_all: bool = False
    ) -> list[StoredDeadLetter]:
        """Return the dead letters of a queue, oldest first; none if it has no dead-letter topic.

        An open transaction hides what stands behind it from a `read_committed` reader, tombstones too.

        Args:
            queue: The queue's name.
            timeout: Seconds for the questions, and again for reading.
            must_be_all: Wait longer for such transactions to end, and raise if they do not.

        Raises:
            TransactionOpen: One did not end, and it must be all.
            TaskqKafkaError: The broker did not answer in time.
        """
        topic = dlq_topic(self._prefix, queue)
        partitions = self._questions.partitions(topic, timeout)
        if not partitions:
            return []
        patience = FOREIGN_PATIENCE if must_be_all else COMMIT_PATIENCE
        is_all = self._wait_for_transactions(topic, partitions, timeout, patience)
        if must_be_all and not is_all:
            raise TransactionOpen(topic)
        return newest_letters(queue, self._reader.read_all(topic, partitions, timeout=timeout))

    def _wait_for_transactions(
        self, topic: str, partitions: Sequence[int], timeout: float, patience: float
    ) -> bool:
        """Return whether a reader sees the topic to where it ends now; waits for that as long as it has patience."""
        deadline = time.monotonic() + timeout
        places = [TopicPartition(topic, number) for number in partitions]
        ends = self._questions.offsets(
            places, OffsetSpec.latest(), deadline, isolation=IsolationLevel.READ_UNCOMMITTED
        )
        given_up = time.monotonic() + patience
        while True:
            asked = time.monotonic()
            seen = self._questions.offsets(places, OffsetSpec.latest(), asked + timeout)
            if all(seen[place] >= end for place, end in ends.items()):
                return True
            if asked >= given_up:
                return False
            Event().wait(LOOK_AGAIN)
