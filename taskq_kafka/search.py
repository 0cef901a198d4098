"""Finding records in queues, and how each stands for a group.

By `assign()` and time: of a record whose sending is known to the minute a few hundred others are read, not the whole topic. Any
thread may call; every call blocks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from confluent_kafka import Message, TopicPartition
from confluent_kafka.admin import OffsetSpec

from .lag import standing, waiting
from .members import Members
from .options import TransportOptions
from .questions import Questions
from .reader import Reader
from .records import Record, headers_of
from .topics import topic_of

NOTHING: Final = -1
"""A broker's answer for an offset by time where all records are older."""


@dataclass(frozen=True, slots=True)
class FoundRecord:
    """A record, and how it stands for one consumer group."""

    queue: str
    partition: int
    offset: int
    record: Record | None
    """None: it was deleted."""

    is_claimed: bool
    ahead: int
    """How many unclaimed records of its partition stand before it; 0 for one that is claimed."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search has found, and how far it went."""

    records: Sequence[FoundRecord]
    searched: int
    """How many records were looked at."""


@dataclass(frozen=True, slots=True)
class _Partition:
    """What is to be known of a partition to tell how its records stand."""

    queue: str
    topic: str
    number: int
    low: int
    end: int
    committed: int
    metadata: str | None

    def found(self, offset: int, record: Record | None) -> FoundRecord:
        """Return how a record of it stands."""
        claimed, ahead = standing(
            offset, low=self.low, committed=self.committed, metadata=self.metadata
        )
        return FoundRecord(self.queue, self.number, offset, record, claimed, ahead)


class Search:
    """Looks into queues, for one group at a time."""

    def __init__(
        self, options: TransportOptions, questions: Questions, members: Members, reader: Reader
    ) -> None:
        """Search with these; nothing is asked yet."""
        self._prefix = options.prefix
        self._questions = questions
        self._members = members
        self._reader = reader

    def find(
        self,
        queues: Sequence[str],
        matches: Callable[[Record], bool],
        *,
        group: str,
        since_ms: int | None,
        until_ms: int | None,
        timeout: float,
    ) -> Found:
        """Return the records of queues that a function recognizes, in the order of their sending.

        Args:
            queues: Those that do not exist are passed over.
            matches: Called for each record that is looked at.
            group: Whose claims count.
            since_ms: Look at what was sent from then on; None: at all that the group has not claimed.
            until_ms: A partition is not looked at beyond the first record that was sent later.
            timeout: Seconds for the questions, and then without anything new after which it is given up.
        """
        deadline = time.monotonic() + timeout
        partitions = self._partitions(queues, group, deadline)
        by_place = {(each.topic, each.number): each for each in partitions}
        starts = (
            _unclaimed(partitions)
            if since_ms is None
            else self._sent_since(partitions, since_ms, deadline)
        )
        searched, found = 0, []
        for message in self._reader.scan(starts, until_ms=until_ms, patience=timeout):
            if since_ms is not None and message.timestamp()[1] < since_ms:
                continue
            searched += 1
            partition = by_place[str(message.topic()), message.partition() or 0]
            record = _record(partition.queue, message)
            if matches(record):
                found.append(partition.found(record.offset, record))
        return Found(sorted(found, key=_sending), searched)

    def at(
        self, queue: str, partition: int, offset: int, *, group: str, timeout: float
    ) -> FoundRecord | None:
        """Return one record; None where there never was one."""
        deadline = time.monotonic() + timeout
        partitions = self._partitions([queue], group, deadline)
        place = next((each for each in partitions if each.number == partition), None)
        if place is None or offset >= place.end:
            return None
        if offset < place.low:
            return place.found(offset, None)
        remaining = max(0.001, deadline - time.monotonic())
        messages = self._reader.read_first([(place.topic, partition, offset)], timeout=remaining)
        records = [_record(queue, message) for message in messages]
        record = next((each for each in records if each.offset == offset), None)
        return place.found(offset, record)

    def _partitions(self, queues: Iterable[str], group: str, deadline: float) -> list[_Partition]:
        """Return the partitions of those queues that exist."""
        places: dict[tuple[str, int], str] = {}
        for queue in queues:
            topic = topic_of(self._prefix, queue)
            for number in self._questions.partitions(topic, deadline - time.monotonic()):
                places[topic, number] = queue
        if not places:
            return []
        asked = [TopicPartition(topic, number) for topic, number in places]
        lows = self._questions.offsets(asked, OffsetSpec.earliest(), deadline)
        ends = self._questions.offsets(asked, OffsetSpec.latest(), deadline)
        committed = self._members.committed(self._prefix + group, asked, deadline)
        return [
            _Partition(
                queue,
                topic,
                number,
                lows[topic, number],
                ends[topic, number],
                *committed.get((topic, number), (-1, None)),
            )
            for (topic, number), queue in places.items()
        ]

    def _sent_since(
        self, partitions: Iterable[_Partition], since_ms: int, deadline: float
    ) -> list[tuple[str, int, int]]:
        """Return where each partition has its first record of a time, without those that have none."""
        asked = [TopicPartition(each.topic, each.number) for each in partitions]
        if not asked:
            return []
        spec = OffsetSpec.for_timestamp(max(0, since_ms))
        found = self._questions.offsets(asked, spec, deadline)
        if set(found.values()) == {NOTHING} and not self._knows_times(asked, deadline):
            return [(each.topic, each.number, each.low) for each in partitions]
        return [(*place, offset) for place, offset in found.items() if offset != NOTHING]

    def _knows_times(self, asked: list[TopicPartition], deadline: float) -> bool:
        """Return whether a broker finds any record by its time: librdkafka's mock cluster finds none, nor if there is none."""
        found = self._questions.offsets(asked, OffsetSpec.for_timestamp(0), deadline)
        return set(found.values()) != {NOTHING}


def _unclaimed(partitions: Iterable[_Partition]) -> list[tuple[str, int, int]]:
    """Return where each partition has its first unclaimed record, without those that have none."""
    starts = []
    for each in partitions:
        count, first = waiting(
            low=each.low, end=each.end, committed=each.committed, metadata=each.metadata
        )
        if count:
            starts.append((each.topic, each.number, first))
    return starts


def _record(queue: str, message: Message) -> Record:
    return Record(
        queue,
        message.partition() or 0,
        message.offset() or 0,
        message.timestamp()[1],
        message.key(),
        message.value(),
        headers_of(message),
    )


def _sending(found: FoundRecord) -> tuple[int, int, int]:
    timestamp_ms = found.record.timestamp_ms if found.record is not None else -1
    return timestamp_ms, found.partition, found.offset
