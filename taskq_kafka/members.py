"""What a group's coordinator knows: its members, and what it has committed.

Any thread may call; every call blocks, at most until its deadline (`time.monotonic`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from confluent_kafka import (
    ConsumerGroupState,
    ConsumerGroupType,
    TopicPartition,
)

from .codes import Code
from .committed import committed
from .errors import RequestRefused
from .forks import AdminClient
from .options import TransportOptions
from .questions import Questions
from .topics import source_of_topic

_PROTOCOLS = {ConsumerGroupType.CONSUMER: "consumer", ConsumerGroupType.CLASSIC: "classic"}

_NO_MEMBERS = (Code.GROUP_ID_NOT_FOUND, Code.LOCAL_UNSUPPORTED_FEATURE)
"""A group that never was; or librdkafka's mock cluster, which cannot say."""


@dataclass(frozen=True, slots=True)
class GroupMember:
    """One member of a consumer group: a worker has one for each of its queues."""

    id: str
    name: str
    """Its client.id."""

    host: str
    holds: Mapping[str, Sequence[int]]
    """Partitions by queue, or priority step of one (QUEUE.pN); empty where it holds none."""


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """A consumer group."""

    group: str
    """Kafka's name of it, with the prefix."""

    protocol: str
    """`consumer` (KIP-848) or `classic`; empty where the group does not exist, or the broker cannot say."""

    members: Sequence[GroupMember]
    is_told: bool = True
    """Whether the broker can tell members; librdkafka's mock cluster cannot."""


class Members:
    """Asks a group's coordinator."""

    def __init__(self, options: TransportOptions, questions: Questions) -> None:
        """Ask with these; nothing is asked yet."""
        self._prefix = options.prefix
        self._questions = questions
        self._options = options

    def status(self, group: str, deadline: float) -> GroupStatus:
        """Return who is in a group (its name without prefix), whatever protocol it speaks."""
        group = self._prefix + group
        try:
            described = self._described(group, deadline)
        except RequestRefused as error:
            if error.code not in _NO_MEMBERS:
                raise
            return GroupStatus(group, "", (), error.code == Code.GROUP_ID_NOT_FOUND)
        if described.state == ConsumerGroupState.DEAD:
            return GroupStatus(group, "", ())
        members = sorted(
            (self._member(each) for each in described.members),
            key=lambda member: (member.name, sorted(member.holds), member.id),
        )
        return GroupStatus(group, _PROTOCOLS.get(described.type, ""), members)

    def workers_by_topic(self, group: str, deadline: float) -> dict[str, int]:
        """Return for each topic how many members of a group (its name with the prefix) hold a partition of it."""
        try:
            members = self._described(group, deadline).members
        except RequestRefused as error:
            if error.code not in _NO_MEMBERS:
                raise
            return {}
        counts: dict[str, int] = {}
        for member in members:
            for topic in {place.topic for place in _held(member)}:
                counts[topic] = counts.get(topic, 0) + 1
        return counts

    def committed(
        self, group: str, places: list[TopicPartition], deadline: float
    ) -> dict[tuple[str, int], tuple[int, str | None]]:
        """Return offset and metadata that a group (its name with the prefix) has committed; nothing for one that never was."""
        try:
            # Tells at once who may not ask, and waits for a coordinator that is not ready.
            self._described(group, deadline)
        except RequestRefused as error:
            if error.code not in _NO_MEMBERS:
                raise

        def ask(remaining: float) -> list[TopicPartition]:
            with self._questions.explained():
                return committed(self._options, group, places, timeout=remaining)

        found = self._questions.repeat(ask, deadline)
        return {(each.topic, each.partition): (each.offset, each.metadata) for each in found}

    def _described(self, group: str, deadline: float) -> Any:
        """Return the client's description of a group."""

        def question(client: AdminClient, limit: float) -> Future[Any]:
            (answer,) = client.describe_consumer_groups([group], request_timeout=limit).values()
            return answer

        return self._questions.ask_coordinator(question, deadline)

    def _member(self, member: Any) -> GroupMember:
        holds: dict[str, list[int]] = {}
        for place in _held(member):
            queue = source_of_topic(self._prefix, place.topic) or place.topic
            holds.setdefault(queue, []).append(place.partition)
        return GroupMember(
            id=member.member_id,
            name=member.client_id,
            host=member.host.lstrip("/"),
            holds={queue: sorted(numbers) for queue, numbers in sorted(holds.items())},
        )


def _held(member: Any) -> Sequence[Any]:
    return member.assignment.topic_partitions if member.assignment else ()
