"""How a cluster is set up and what we may do there, as far as its brokers tell.

Any thread may call; every call blocks, at most until its deadline (`time.monotonic`). What we may not know is left out, and no
error.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from confluent_kafka import TopicPartition
from confluent_kafka.admin import ConfigResource, OffsetSpec, ResourceType

from .errors import RequestRefused
from .forks import AdminClient
from .options import TransportOptions
from .questions import Questions, operations
from .topics import topic_of

OFFSETS_TOPIC: Final = "__consumer_offsets"
"""Where commits stand. A group's coordinator writes them, with its own clock's time."""

_UNTOLD = (LookupError, PermissionError, RequestRefused)
"""What is not there, may not be read, or this kind of broker does not know."""


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """How a cluster is set up, as far as we may know."""

    brokers: int
    settings: Mapping[str, str] | None
    """One broker's settings; None where we may not read them, or it has none."""

    group_settings: Mapping[str, str]
    """What the workers' group has set; empty where that cannot be read."""


class ClusterView:
    """Looks at a cluster through the eyes of who we are logged in as."""

    def __init__(self, options: TransportOptions, questions: Questions) -> None:
        """Ask with these; nothing is asked yet."""
        self._options = options
        self._questions = questions

    def status(self, group: str, deadline: float) -> ClusterStatus:
        """Return how the cluster is set up, and what a group (its name without prefix) has set."""
        brokers = self._questions.metadata("", deadline - time.monotonic()).brokers
        settings = self._told(partial(self._questions.broker_config, deadline))
        of_group = self._options.prefix + group
        group_settings = None
        if settings is not None or not self._questions.is_bare(deadline):
            resource = ConfigResource(ResourceType.GROUP, of_group)
            group_settings = self._told(partial(self._questions.config, resource, deadline))
        return ClusterStatus(len(brokers), settings, group_settings or {})

    def rights(
        self, queues: Sequence[str], group: str, deadline: float
    ) -> dict[tuple[str, str], frozenset[str]]:
        """Return our operations on cluster, topics and group, by kind and Kafka's name; what is not told is left out."""
        if self._questions.is_bare(deadline):
            return {}
        of_group = self._options.prefix + group
        topics = [topic_of(self._options.prefix, queue) for queue in queues]
        told = {("cluster", ""): self._operations(partial(self._described_cluster, deadline))}
        for topic in topics:
            told["topic", topic] = self._operations(
                partial(self._questions.described_topic, topic, deadline)
            )
        told["group", of_group] = self._operations(
            partial(self._described_group, of_group, deadline)
        )
        return {resource: may for resource, may in told.items() if may is not None}

    def newest_commit_ms(self, deadline: float) -> int | None:
        """Return when a broker last wrote a commit, by its own clock, in milliseconds since 1970; None if nobody tells."""
        try:
            partitions = self._questions.partitions(OFFSETS_TOPIC, deadline - time.monotonic())
            if not partitions:
                return None
            places = [TopicPartition(OFFSETS_TOPIC, number) for number in partitions]
            answers = self._questions.client.list_offsets(
                dict.fromkeys(places, OffsetSpec.max_timestamp()),
                request_timeout=max(0.001, deadline - time.monotonic()),
            )
            found = [
                self._questions.result(answer, deadline, topic=OFFSETS_TOPIC).timestamp
                for answer in answers.values()
            ]
        except _UNTOLD:
            return None
        newest = max(found)
        return newest if newest > 0 else None

    def _told(self, ask: Callable[[], Mapping[str, str]]) -> Mapping[str, str] | None:
        try:
            return ask()
        except _UNTOLD:
            return None

    def _operations(self, ask: Callable[[], Any]) -> frozenset[str] | None:
        """Return the operations that an answer allows; none at all where even the question is forbidden."""
        try:
            return operations(ask())
        except PermissionError:
            return frozenset()
        except _UNTOLD:
            return None

    def _described_cluster(self, deadline: float) -> Any:
        answer = self._questions.client.describe_cluster(
            include_authorized_operations=True,
            request_timeout=max(0.001, deadline - time.monotonic()),
        )
        return self._questions.result(answer, deadline)

    def _described_group(self, group: str, deadline: float) -> Any:
        def question(client: AdminClient, limit: float) -> Future[Any]:
            (answer,) = client.describe_consumer_groups(
                [group], include_authorized_operations=True, request_timeout=limit
            ).values()
            return answer

        return self._questions.ask_coordinator(question, deadline)
