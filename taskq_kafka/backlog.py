"""How queues stand: what waits in them, for how long, and how many members take it; and deleting what waits.

Any thread may call; every call blocks, at most `timeout` seconds.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from confluent_kafka import TopicPartition
from confluent_kafka.admin import OffsetSpec

from .codes import Code
from .errors import RequestRefused, TaskqKafkaError
from .lag import waiting
from .members import Members
from .options import TransportOptions
from .questions import Questions
from .reader import Reader
from .topics import topic_of

logger = logging.getLogger(__name__)

AGE_TIMEOUT: Final = 3.0
"""Seconds for finding the oldest waiting record: the age is a comfort, the numbers must not wait for it."""


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """How a queue stands, for one consumer group."""

    queue: str
    partitions: int
    lag: int
    """Records that no member of the group has claimed, summed over partitions."""

    oldest_age: float | None
    """Age in seconds of the oldest waiting record; None where none waits or it could not be read."""

    workers: int
    """Members of the group that hold a partition of it."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """The lag of one queue, and the first waiting record of each partition that has one."""

    queue: str
    topic: str
    partitions: int
    lag: int
    firsts: tuple[tuple[str, int, int], ...]


class Backlog:
    """Counts what waits, for one group at a time."""

    def __init__(
        self,
        options: TransportOptions,
        questions: Questions,
        members: Members,
        reader: Reader,
        now: Callable[[], float],
    ) -> None:
        """Ask with these; nothing is asked yet.

        Args:
            options: The connection's options.
            questions: Asks the brokers.
            members: Says who is in a group.
            reader: Reads the oldest records, for their ages.
            now: Seconds since 1970, which ages are counted from.
        """
        self._options = options
        self._questions = questions
        self._members = members
        self._reader = reader
        self._now = now

    def queue_status(
        self, queues: Sequence[str], *, group: str, timeout: float
    ) -> Sequence[QueueStatus]:
        """Return how queues stand; a queue that does not exist is left out."""
        deadline = time.monotonic() + timeout
        group = self._options.prefix + group
        waits = self._waits(queues, group, deadline)
        ages = self._ages([first for each in waits for first in each.firsts], deadline)
        workers = self._members.workers_by_topic(group, deadline) if waits else {}
        return [
            QueueStatus(
                queue=each.queue,
                partitions=each.partitions,
                lag=each.lag,
                oldest_age=ages.get(each.topic),
                workers=workers.get(each.topic, 0),
            )
            for each in waits
        ]

    def partition_counts(self, queues: Sequence[str], *, timeout: float) -> Mapping[str, int]:
        """Return how many partitions each queue has; a queue that does not exist is left out."""
        deadline = time.monotonic() + timeout
        found = {queue: self._queue_partitions(queue, deadline) for queue in queues}
        return {queue: len(partitions) for queue, partitions in found.items() if partitions}

    def purge(self, queues: Sequence[str], *, group: str, timeout: float) -> int:
        """Delete all records of queues for every group; return how many of them this group had not claimed.

        A worker still runs what it had fetched before.
        """
        deadline = time.monotonic() + timeout
        waits = self._waits(queues, self._options.prefix + group, deadline)
        for each in waits:
            places = [TopicPartition(each.topic, number) for number in range(each.partitions)]
            ends = self._questions.offsets(places, OffsetSpec.latest(), deadline)
            cuts = [TopicPartition(topic, number, end) for (topic, number), end in ends.items()]
            self.delete(cuts, deadline)
        return sum(each.lag for each in waits)

    def delete(self, cuts: list[TopicPartition], deadline: float) -> None:
        """Delete what stands below the offsets, for every group."""
        remaining = max(0.001, deadline - time.monotonic())
        answers = self._questions.client.delete_records(cuts, request_timeout=remaining)
        for answer in answers.values():
            try:
                self._questions.result(answer, deadline)
            except RequestRefused as error:
                if error.code != Code.LOCAL_UNSUPPORTED_FEATURE:
                    raise
                why = "it cannot delete records (an embedded broker, as of `taskq dev`)"
                raise RequestRefused(error.code, error.name, why) from error

    def _queue_partitions(self, queue: str, deadline: float) -> list[int]:
        topic = topic_of(self._options.prefix, queue)
        return self._questions.partitions(topic, deadline - time.monotonic())

    def _waits(self, queues: Sequence[str], group: str, deadline: float) -> list[_Waiting]:
        """Return the lag of those queues that exist."""
        topics = {queue: topic_of(self._options.prefix, queue) for queue in queues}
        found = {queue: self._queue_partitions(queue, deadline) for queue in queues}
        places = [
            TopicPartition(topics[queue], number)
            for queue, partitions in found.items()
            for number in partitions
        ]
        if not places:
            return []
        lows = self._questions.offsets(places, OffsetSpec.earliest(), deadline)
        ends = self._questions.offsets(places, OffsetSpec.latest(), deadline)
        committed = self._members.committed(group, places, deadline)
        waits = []
        for queue, partitions in found.items():
            topic, lag, firsts = topics[queue], 0, []
            for number in partitions:
                offset, metadata = committed.get((topic, number), (-1, None))
                low, end = lows[topic, number], ends[topic, number]
                count, first = waiting(low=low, end=end, committed=offset, metadata=metadata)
                lag += count
                if count:
                    firsts.append((topic, number, first))
            if partitions:
                waits.append(_Waiting(queue, topic, len(partitions), lag, tuple(firsts)))
        return waits

    def _ages(self, firsts: list[tuple[str, int, int]], deadline: float) -> dict[str, float]:
        """Return for each topic the age of its oldest waiting record, as far as it can be read in a few seconds."""
        ages: dict[str, float] = {}
        try:
            remaining = max(0.001, min(AGE_TIMEOUT, deadline - time.monotonic()))
            messages = self._reader.read_first(firsts, timeout=remaining)
        except TaskqKafkaError as error:
            logger.warning("ages of waiting tasks are unknown: %s", error)
            return ages
        now = self._now()
        for message in messages:
            topic, (_, timestamp_ms) = str(message.topic()), message.timestamp()
            if timestamp_ms > 0:
                ages[topic] = max(ages.get(topic, 0.0), now - timestamp_ms / 1000)
        return ages
