"""Partitions in which an open transaction holds back all `read_committed` readers: which, from where on, and since when.

A transaction that a process or a broker left hanging shows nowhere else: to its readers the partition looks as if nothing came.
What an end of such a partition means for a consumer is in heldwatch.py.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from confluent_kafka import IsolationLevel, TopicPartition
from confluent_kafka.admin import OffsetSpec

from .errors import TaskqKafkaError
from .options import TransportOptions
from .questions import Questions
from .reader import Reader

FIRST_TIMEOUT: Final = 3.0
"""Seconds for reading when the transactions began: that is a comfort, the places must not wait for it."""


@dataclass(frozen=True, slots=True)
class HeldPartition:
    """A partition with an open transaction."""

    topic: str
    partition: int
    offset: int
    """The transaction's first record: no `read_committed` reader sees it, or anything behind it."""

    behind: int
    """How many offsets there are from there on."""

    since_ms: int | None
    """When that record was written, in milliseconds since 1970; None where it could not be read."""


class HeldUp:
    """Looks for open transactions. Any thread may call it."""

    def __init__(self, options: TransportOptions, questions: Questions) -> None:
        """Ask with these; nothing is asked yet."""
        self._options = options
        self._questions = questions

    def find(self, topics: Sequence[str], deadline: float) -> list[HeldPartition]:
        """Return the partitions of topics with an open transaction, also one that is about to end; a missing topic has none.

        Blocks for two round trips, and where there is one for a read.
        """
        places = [
            TopicPartition(topic, number)
            for topic in topics
            for number in self._questions.partitions(topic, deadline - time.monotonic())
        ]
        if not places:
            return []
        # The ends come first: what is written between the two questions must not look held up.
        which, uncommitted = OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED
        ends = self._questions.offsets(places, which, deadline, isolation=uncommitted)
        stable = self._questions.offsets(places, which, deadline)
        held = {at: offset for at, offset in stable.items() if offset < ends[at]}
        begun = self._begun(held, deadline)
        return [
            HeldPartition(topic, number, offset, ends[topic, number] - offset, begun.get((topic, number)))
            for (topic, number), offset in sorted(held.items())
        ]  # fmt: skip

    def _begun(
        self, held: dict[tuple[str, int], int], deadline: float
    ) -> dict[tuple[str, int], int]:
        """Return when the first record of each open transaction was written, as far as it can be read in a few seconds."""
        if not held:
            return {}
        reader = Reader(self._options, isolation="read_uncommitted")
        remaining = max(0.001, min(FIRST_TIMEOUT, deadline - time.monotonic()))
        try:
            messages = reader.read_first([(*at, held[at]) for at in held], timeout=remaining)
        except TaskqKafkaError:
            return {}
        finally:
            reader.close()
        return {
            (str(message.topic()), message.partition() or 0): message.timestamp()[1]
            for message in messages
            if message.timestamp()[1] > 0
        }
