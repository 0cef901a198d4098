"""Deleting finished records: below what every group has committed, and sent long enough ago.

`cut_below` decides and is pure; `Trimmer` asks and deletes. Any thread may call; every call blocks, at most `timeout` seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from confluent_kafka import TopicPartition
from confluent_kafka.admin import ConfigResource, OffsetSpec, ResourceType

from .codes import Code
from .errors import RequestRefused
from .members import Members
from .options import TransportOptions
from .questions import Questions, operations
from .topics import topic_of

KEPT_FOR_EVER: Final = "-1"
"""`retention.ms` of the topics that are trimmed. Of others somebody else has decided what they keep, and for whom."""

Committed = Mapping[tuple[str, int], int]
"""What one group has committed, by topic and partition; below zero where it has not."""


def cut_below(low: int, committed: Iterable[int], first_young: int) -> int | None:
    """Return the offset below which a partition's records may be deleted; None if none may.

    Args:
        low: The first offset that there is.
        committed: Of each group that has committed anything on the topic: its offset in this partition, below zero if it has none
            here. Such a group has read nothing of the partition yet, and begins at its start.
        first_young: Offset of the first record that is kept for its age; below zero if all are older.
    """
    offsets = list(committed)
    if not offsets:
        return None
    cut = min(offsets)
    if first_young >= 0:
        cut = min(cut, first_young)
    return cut if cut > low else None


def of_topic(topic: str, groups: Iterable[Committed]) -> list[Committed]:
    """Return the groups that have committed something on a topic; the others do not read it."""
    return [
        group
        for group in groups
        if any(name == topic and offset >= 0 for (name, _), offset in group.items())
    ]


class Trimmer:
    """Trims queues' topics."""

    def __init__(
        self,
        options: TransportOptions,
        questions: Questions,
        members: Members,
        delete: Callable[[list[TopicPartition], float], None],
        now: Callable[[], float],
    ) -> None:
        """Ask with these; nothing is asked yet.

        Args:
            options: The connection's options.
            questions: Asks the brokers.
            members: Says what groups have committed.
            delete: Deletes what stands below offsets, until a deadline.
            now: Seconds since 1970, which ages are counted from.
        """
        self._options = options
        self._questions = questions
        self._members = members
        self._delete = delete
        self._now = now

    def trim(self, queues: Sequence[str], *, keep: float, timeout: float) -> dict[str, int]:
        """Delete what all groups have finished and was sent more than `keep` seconds ago.

        Returns:
            How many offsets went, by queue; queues of which nothing went are left out, as are topics with a retention.

        Raises:
            TaskqKafkaError: A broker refused or did not answer; what was asked last is not deleted.
        """
        deadline = time.monotonic() + timeout
        if self._questions.is_bare(deadline):
            return {}
        topics = {topic_of(self._options.prefix, queue): queue for queue in queues}
        places = [place for topic in topics for place in self._places(topic, deadline)]
        if not places:
            return {}
        before_ms = int((self._now() - keep) * 1000)
        lows = self._questions.offsets(places, OffsetSpec.earliest(), deadline)
        young = self._questions.offsets(places, OffsetSpec.for_timestamp(before_ms), deadline)
        groups = self._committed(places, deadline)
        cuts: dict[tuple[str, int], int] = {}
        for (topic, number), low in lows.items():
            offsets = [group.get((topic, number), -1) for group in of_topic(topic, groups)]
            cut = cut_below(low, offsets, young[topic, number])
            if cut is not None:
                cuts[topic, number] = cut
        if cuts:
            self._delete([TopicPartition(*place, cut) for place, cut in cuts.items()], deadline)
        gone: dict[str, int] = {}
        for (topic, number), cut in cuts.items():
            queue = topics[topic]
            gone[queue] = gone.get(queue, 0) + cut - lows[topic, number]
        return gone

    def _places(self, topic: str, deadline: float) -> list[TopicPartition]:
        """Return the partitions of a topic that may be trimmed."""
        numbers = self._questions.partitions(topic, deadline - time.monotonic())
        if not numbers:
            return []
        config = self._questions.config(ConfigResource(ResourceType.TOPIC, topic), deadline)
        if config.get("retention.ms") != KEPT_FOR_EVER:
            return []
        return [TopicPartition(topic, number) for number in numbers]

    def _committed(self, places: list[TopicPartition], deadline: float) -> list[Committed]:
        """Return what each group of the cluster has committed of some partitions."""
        return [
            {
                place: offset
                for place, (offset, _) in self._members.committed(name, places, deadline).items()
            }
            for name in self._groups(deadline)
        ]

    def _groups(self, deadline: float) -> list[str]:
        """Return the names of all groups.

        Raises:
            RequestRefused: The broker would leave out groups that we may not see: without *Describe* on the cluster.
        """
        client, remaining = self._questions.client, max(0.001, deadline - time.monotonic())
        answer = client.describe_cluster(
            include_authorized_operations=True, request_timeout=remaining
        )
        may = operations(self._questions.result(answer, deadline)) or frozenset()
        if "Describe" not in may:
            why = "without the right Describe on the cluster it does not tell all groups"
            code = Code.CLUSTER_AUTHORIZATION_FAILED
            raise RequestRefused(code, code.name, why)
        remaining = max(0.001, deadline - time.monotonic())
        found = self._questions.result(
            client.list_consumer_groups(request_timeout=remaining), deadline
        )
        for error in found.errors:
            raise self._questions.error_log.explain(error) from error
        return sorted(group.group_id for group in found.valid)
