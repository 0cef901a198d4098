"""Making topics, of queues, their dead letters and logs, and how those stand that exist.

Their settings are decided in topics.py. Any thread may call; every call blocks, at most `timeout` seconds.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Any

from confluent_kafka.admin import ConfigResource, NewTopic, ResourceType

from .codes import Code
from .errors import RequestRefused
from .forks import new_admin
from .options import TransportOptions
from .questions import LOOK_AGAIN, Questions
from .steps import queue_of_source, sources_of, step_of_source
from .topics import (
    DEFAULT_MAX_MESSAGE_BYTES,
    TopicSettings,
    dlq_settings,
    dlq_topic,
    log_settings,
    min_insync_replicas,
    queue_settings,
    topic_of,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TopicStatus:
    """How a topic of taskq's stands beside how taskq would make it."""

    queue: str
    topic: str
    """Kafka's name of it, with the prefix."""

    is_dead_letters: bool
    """Whether it holds the queue's dead letters instead of its tasks."""

    partitions: int
    """0: it does not exist."""

    replication: int
    """Replicas of a partition; 0 where it does not exist."""

    settings: Mapping[str, str]
    """Of the wanted settings those that could be read, as they are."""

    wanted: Mapping[str, str]
    """As taskq would make it: `partitions`, `replication` (where that is known) and Kafka's own settings."""

    is_log: bool = False
    """Whether it holds a log of taskq's own; `queue` is the log's name then."""

    step: int = 0
    """The priority step of the queue that it holds."""


class TopicMaker:
    """Makes what is missing; what exists is used as it is."""

    def __init__(self, options: TransportOptions, questions: Questions) -> None:
        """Make topics by these options; nothing is asked yet."""
        self._options = options
        self._questions = questions
        self._replication: int | None = options.replication

    def create_queue(self, queue: str, *, timeout: float) -> None:
        """Make a queue's topic, and wait until it has leaders; one that exists is used as it is.

        Raises:
            TopicInvalid: Kafka would not take the name.
            TaskqKafkaError: The broker did not make it.
        """
        topic = topic_of(self._options.prefix, queue)
        self._create(topic, lambda _: queue_settings(self._options), timeout)

    def create_dead_letter_topic(self, queue: str, *, timeout: float) -> None:
        """Make the topic of a queue's dead letters, with room for the largest record of the queue and its steps.

        Raises:
            TaskqKafkaError: The broker did not make it.
        """
        sources = {topic_of(self._options.prefix, source) for source in sources_of(queue)}

        def settings(deadline: float) -> TopicSettings:
            topics = self._questions.metadata(None, deadline - time.monotonic()).topics
            largest = self._largest(sources & topics.keys(), deadline)
            return dlq_settings(self._options, queue_max_message_bytes=largest)

        self._create(dlq_topic(self._options.prefix, queue), settings, timeout)

    def create_log(self, log: str, *, timeout: float) -> None:
        """Make a log's topic, and wait until it has leaders; one that exists is used as it is.

        Raises:
            TaskqKafkaError: The broker did not make it.
        """
        topic = topic_of(self._options.prefix, log)
        self._create(topic, lambda _: log_settings(log, self._options), timeout)

    def statuses(self, queues: Sequence[str], *, timeout: float) -> Sequence[TopicStatus]:
        """Return how the topics of these queues and of their dead letters stand, also of those that do not exist.

        Of priority steps those that exist, and those that are among the names.
        """
        deadline = time.monotonic() + timeout
        topics = self._questions.metadata(None, timeout).topics
        replication = self._default_replication(deadline)
        is_bare = replication == 0  # and asked for a topic's settings it never answers

        def stand(
            topic: str,
            made: TopicSettings,
            *,
            queue: str,
            step: int = 0,
            is_dead_letters: bool = False,
        ) -> TopicStatus:
            wanted = {} if is_bare else _wanted(made, replication)
            partitions, replicas = _size(topics.get(topic))
            settings = self._settings(topic, wanted, deadline) if partitions and wanted else {}
            return TopicStatus(
                queue, topic, is_dead_letters, partitions, replicas, settings, wanted, step=step
            )

        found = []
        for queue in dict.fromkeys(map(queue_of_source, queues)):
            made = queue_settings(self._options)
            there = set()
            for source in reversed(sources_of(queue)):
                topic, step = topic_of(self._options.prefix, source), step_of_source(source)
                if topic in topics:
                    there.add(topic)
                elif step and source not in queues:
                    continue
                found.append(stand(topic, made, queue=queue, step=step))
            largest = DEFAULT_MAX_MESSAGE_BYTES if is_bare else self._largest(there, deadline)
            made = dlq_settings(self._options, queue_max_message_bytes=largest)
            topic = dlq_topic(self._options.prefix, queue)
            found.append(stand(topic, made, queue=queue, is_dead_letters=True))
        return found

    def log_statuses(self, logs: Sequence[str], *, timeout: float) -> Sequence[TopicStatus]:
        """Return how the topics of these logs stand, also of those that do not exist."""
        deadline = time.monotonic() + timeout
        topics = self._questions.metadata(None, timeout).topics
        replication = self._default_replication(deadline)
        found = []
        for log in logs:
            topic = topic_of(self._options.prefix, log)
            made = log_settings(log, self._options)
            wanted = {} if replication == 0 else _wanted(made, replication)
            partitions, replicas = _size(topics.get(topic))
            settings = self._settings(topic, wanted, deadline) if partitions and wanted else {}
            found.append(
                TopicStatus(log, topic, False, partitions, replicas, settings, wanted, is_log=True)
            )
        return found

    def _settings(self, topic: str, wanted: Mapping[str, str], deadline: float) -> dict[str, str]:
        """Return a topic's settings, of those that taskq would set; none where we may not read them."""
        try:
            config = self._questions.config(ConfigResource(ResourceType.TOPIC, topic), deadline)
        except (LookupError, PermissionError, RequestRefused):
            return {}
        return {name: config[name] for name in wanted if name in config}

    def _create(
        self, topic: str, settings: Callable[[float], TopicSettings], timeout: float
    ) -> None:
        """Make a topic unless it exists, and wait until it has leaders."""
        deadline = time.monotonic() + timeout
        if self._questions.partitions(topic, timeout):
            return
        replication = self._default_replication(deadline)
        if replication == 0:
            self._appear(topic, deadline)
            return
        made = settings(deadline)
        config = dict(made.config)
        if replication is not None:
            config["min.insync.replicas"] = str(min_insync_replicas(replication))
        new = NewTopic(
            topic,
            num_partitions=made.partitions,
            replication_factor=made.replication or -1,
            config=config,
        )
        remaining = max(0.001, deadline - time.monotonic())
        (answer,) = self._questions.client.create_topics([new], request_timeout=remaining).values()
        try:
            self._questions.result(answer, deadline, topic=topic)
            logger.info(
                "made topic %s with %d partitions",
                topic,
                made.partitions,
                extra={"event": "topic.created", "topic": topic, "partitions": made.partitions},
            )
        except RequestRefused as error:
            if error.code != Code.TOPIC_ALREADY_EXISTS:
                raise
        while not self._questions.partitions(topic, deadline - time.monotonic()):
            Event().wait(LOOK_AGAIN)

    def _default_replication(self, deadline: float) -> int | None:
        """Return the replicas of a new topic; None where we may not know, 0 where topics cannot be made (mock cluster)."""
        if self._replication is None:
            try:
                config = self._questions.broker_config(deadline)
                self._replication = int(config["default.replication.factor"])
            except RequestRefused as error:
                if error.code != Code.LOCAL_UNSUPPORTED_FEATURE:
                    raise
                self._replication = 0
            except (KeyError, PermissionError):
                logger.debug(
                    "may not read the broker's settings; min.insync.replicas stays its default"
                )
                return None
        return self._replication

    def _appear(self, topic: str, deadline: float) -> None:
        """Have a topic made by asking for it, which is the mock cluster's only way."""
        config = {**self._options.admin_config(), "allow.auto.create.topics": "true"}
        new_admin(config).list_topics(topic, timeout=max(0.001, deadline - time.monotonic()))

    def _largest(self, topics: Iterable[str], deadline: float) -> int:
        """Return the largest record that any of some topics takes; Kafka's default if there are none."""
        sizes = [self._max_message_bytes(topic, deadline) for topic in topics]
        return max(sizes, default=DEFAULT_MAX_MESSAGE_BYTES)

    def _max_message_bytes(self, topic: str, deadline: float) -> int:
        """Return the largest record a topic takes; Kafka's default where we may not know."""
        try:
            config = self._questions.config(ConfigResource(ResourceType.TOPIC, topic), deadline)
            return int(config["max.message.bytes"])
        except (LookupError, PermissionError, RequestRefused):
            return DEFAULT_MAX_MESSAGE_BYTES


def _wanted(made: TopicSettings, replication: int | None) -> dict[str, str]:
    """Return all that a topic is made with, as text."""
    wanted = {"partitions": str(made.partitions)}
    if replication:
        wanted["replication"] = str(replication)
    wanted |= made.config
    if replication:
        wanted["min.insync.replicas"] = str(min_insync_replicas(replication))
    return wanted


def _size(topic: Any) -> tuple[int, int]:
    """Return partitions and replicas of a topic in the client's metadata; zeros for none."""
    if topic is None or topic.error is not None or not topic.partitions:
        return 0, 0
    replicas = min(len(partition.replicas) for partition in topic.partitions.values())
    return len(topic.partitions), replicas
