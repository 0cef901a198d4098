"""Questions to the broker, and making topics.

Any thread may call; every call blocks, at most `timeout` seconds, and ends with an error of ours. The AdminClient is kept: one that
is collected never answers.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event
from typing import Any, Final, TypeVar

from confluent_kafka import (
    IsolationLevel,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import ConfigResource, NewTopic, OffsetSpec, ResourceType

from .clientlog import ErrorLog
from .codes import TOPIC_ABSENT, Code, is_answer
from .committed import committed
from .coordinator import CoordinatorClient, Question
from .deadletters import StoredDeadLetter, newest_letters
from .errors import AuthenticationFailed, ConnectionBroken, RequestRefused, TaskqKafkaError
from .forks import AdminClient, new_admin
from .lag import waiting
from .options import TransportOptions
from .reader import Reader
from .shared import shared
from .topics import (
    DEFAULT_MAX_MESSAGE_BYTES,
    TopicSettings,
    dlq_queue_of,
    dlq_settings,
    dlq_topic,
    min_insync_replicas,
    queue_of,
    queue_settings,
    topic_of,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")

ATTEMPT: Final = 0.5
"""Seconds of one attempt of `check`: between two it looks whether the broker refuses us, which no waiting will change."""

LOOK_AGAIN: Final = 0.02
"""Seconds between two looks for a topic that was just made."""

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


class Admin:
    """The admin client of a process for one configuration, and a reader beside it."""

    def __init__(self, options: TransportOptions, *, now: Callable[[], float] = time.time) -> None:
        """Build it; nothing is connected yet.

        Args:
            options: The connection's options.
            now: Seconds since 1970, which ages are counted from.
        """
        self._options = options
        self._now = now
        config = options.admin_config()
        self._error_log: ErrorLog = config["error_cb"]
        self._client = new_admin(config)
        self._coordinator = CoordinatorClient(config)
        self._reader = Reader(options)
        self._replication: int | None = options.replication

    @classmethod
    def shared(cls, options: TransportOptions) -> Admin:
        """Return this process's admin for these options."""
        return shared(cls, options)

    def check(self, *, timeout: float) -> None:
        """Return when a broker has answered; a refused login ends it at once.

        Raises:
            BrokerUnreachable: None did within `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while True:
            remaining = deadline - time.monotonic()
            try:
                self._metadata(
                    topic_of(self._options.prefix, "taskq.check"), min(ATTEMPT, remaining)
                )
                return
            except AuthenticationFailed:
                raise
            except ConnectionError:
                if remaining <= ATTEMPT:
                    raise

    def create_queue(self, queue: str, *, timeout: float) -> None:
        """Make a queue's topic, and wait until it has leaders; one that exists is used as it is.

        Raises:
            TopicInvalid: Kafka would not take the name.
            TaskqKafkaError: The broker did not make it.
        """
        topic = topic_of(self._options.prefix, queue)
        self._create(topic, lambda _: queue_settings(self._options), timeout)

    def create_dead_letter_topic(self, queue: str, *, timeout: float) -> None:
        """Make the topic of a queue's dead letters, with room for the largest record of the queue.

        Raises:
            TaskqKafkaError: The broker did not make it.
        """
        source = topic_of(self._options.prefix, queue)

        def settings(deadline: float) -> TopicSettings:
            largest = self._max_message_bytes(source, deadline)
            return dlq_settings(self._options, queue_max_message_bytes=largest)

        self._create(dlq_topic(self._options.prefix, queue), settings, timeout)

    def queues(self, *, timeout: float) -> Sequence[str]:
        """Return the names of all queues, sorted."""
        return self._names(queue_of, timeout)

    def dead_letter_queues(self, *, timeout: float) -> Sequence[str]:
        """Return the names of the queues that have a dead-letter topic, sorted."""
        return self._names(dlq_queue_of, timeout)

    def queue_status(
        self, queues: Sequence[str], *, group: str, timeout: float
    ) -> Sequence[QueueStatus]:
        """Return how queues stand; a queue that does not exist is left out."""
        deadline = time.monotonic() + timeout
        group = self._options.prefix + group
        waits = self._waits(queues, group, deadline)
        ages = self._ages([first for each in waits for first in each.firsts], deadline)
        workers = self._workers(group, deadline) if waits else {}
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

    def worker_counts(
        self, queues: Sequence[str], *, group: str, timeout: float
    ) -> Mapping[str, int]:
        """Return how many members of a group hold a partition of each queue."""
        workers = self._workers(self._options.prefix + group, time.monotonic() + timeout)
        return {queue: workers.get(topic_of(self._options.prefix, queue), 0) for queue in queues}

    def dead_letters(self, queue: str, *, timeout: float) -> Sequence[StoredDeadLetter]:
        """Return the dead letters of a queue, oldest first; none if it has no dead-letter topic."""
        deadline = time.monotonic() + timeout
        topic = dlq_topic(self._options.prefix, queue)
        partitions = self._partitions(topic, timeout)
        if not partitions:
            return []
        remaining = deadline - time.monotonic()
        messages = self._reader.read_all(topic, partitions, timeout=remaining)
        return newest_letters(queue, messages)

    def purge(self, queue: str, *, group: str, timeout: float) -> int:
        """Delete all records of a queue for every group; return how many of them this group had not claimed.

        A worker still runs what it had fetched before.
        """
        deadline = time.monotonic() + timeout
        waits = self._waits([queue], self._options.prefix + group, deadline)
        for each in waits:
            places = [TopicPartition(each.topic, number) for number in range(each.partitions)]
            ends = self._offsets(places, OffsetSpec.latest(), deadline)
            cuts = [TopicPartition(topic, number, end) for (topic, number), end in ends.items()]
            remaining = deadline - time.monotonic()
            for answer in self._client.delete_records(cuts, request_timeout=remaining).values():
                self._result(answer, deadline)
        return sum(each.lag for each in waits)

    # -- making topics

    def _create(
        self, topic: str, settings: Callable[[float], TopicSettings], timeout: float
    ) -> None:
        """Make a topic unless it exists, and wait until it has leaders."""
        deadline = time.monotonic() + timeout
        if self._partitions(topic, timeout):
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
        (answer,) = self._client.create_topics([new], request_timeout=remaining).values()
        try:
            self._result(answer, deadline, topic=topic)
            logger.info(
                "made topic %s with %d partitions",
                topic,
                made.partitions,
                extra={"event": "topic.created", "topic": topic, "partitions": made.partitions},
            )
        except RequestRefused as error:
            if error.code != Code.TOPIC_ALREADY_EXISTS:
                raise
        while not self._partitions(topic, deadline - time.monotonic()):
            Event().wait(LOOK_AGAIN)

    def _default_replication(self, deadline: float) -> int | None:
        """Return the replicas of a new topic; None where we may not know, 0 where topics cannot be made (mock cluster)."""
        if self._replication is None:
            brokers = self._metadata("", deadline - time.monotonic()).brokers
            broker = ConfigResource(ResourceType.BROKER, str(next(iter(brokers))))
            try:
                config = self._config(broker, deadline)
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

    def _max_message_bytes(self, topic: str, deadline: float) -> int:
        """Return the largest record a topic takes; Kafka's default where we may not know."""
        try:
            config = self._config(ConfigResource(ResourceType.TOPIC, topic), deadline)
            return int(config["max.message.bytes"])
        except (LookupError, PermissionError, RequestRefused):
            return DEFAULT_MAX_MESSAGE_BYTES

    def _config(self, resource: ConfigResource, deadline: float) -> Mapping[str, str]:
        """Return the settings of a broker or topic."""
        remaining = max(0.001, deadline - time.monotonic())
        (answer,) = self._client.describe_configs([resource], request_timeout=remaining).values()
        entries = self._result(answer, deadline, topic=resource.name)
        return {name: entry.value for name, entry in entries.items() if entry.value is not None}

    # -- asking

    def _names(self, name_of: Callable[[str, str], str | None], timeout: float) -> list[str]:
        """Return the sorted names that a function gives to the cluster's topics."""
        topics = self._metadata(None, timeout).topics
        names = (name_of(self._options.prefix, topic) for topic in topics)
        return sorted(name for name in names if name is not None)

    def _metadata(self, topic: str | None, timeout: float) -> Any:
        """Return the cluster's metadata, of one topic (an empty name: of none) or of all."""
        try:
            if topic is None:
                return self._client.list_topics(timeout=max(timeout, 0.001))
            return self._client.list_topics(
                topic or "__consumer_offsets", timeout=max(timeout, 0.001)
            )
        except KafkaException as error:
            self._client.poll(0)
            raise self._error_log.explain(error) from error

    def _partitions(self, topic: str, timeout: float) -> list[int]:
        """Return the partitions of a topic; none if it does not exist or has no leaders yet."""
        found = self._metadata(topic, timeout).topics[topic]
        if found.error is not None:
            if (
                found.error.code() in TOPIC_ABSENT
                or found.error.code() == Code.LEADER_NOT_AVAILABLE
            ):
                return []
            raise self._error_log.explain(found.error, topic=topic)
        if any(partition.leader < 0 for partition in found.partitions.values()):
            return []
        return sorted(found.partitions)

    def _queue_partitions(self, queue: str, deadline: float) -> list[int]:
        topic = topic_of(self._options.prefix, queue)
        return self._partitions(topic, deadline - time.monotonic())

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
        lows = self._offsets(places, OffsetSpec.earliest(), deadline)
        ends = self._offsets(places, OffsetSpec.latest(), deadline)
        stored = self._committed(group, places, deadline)
        waits = []
        for queue, partitions in found.items():
            topic, lag, firsts = topics[queue], 0, []
            for number in partitions:
                offset, metadata = stored.get((topic, number), (-1, None))
                low, end = lows[topic, number], ends[topic, number]
                count, first = waiting(low=low, end=end, committed=offset, metadata=metadata)
                lag += count
                if count:
                    firsts.append((topic, number, first))
            if partitions:
                waits.append(_Waiting(queue, topic, len(partitions), lag, tuple(firsts)))
        return waits

    def _offsets(
        self, places: Iterable[TopicPartition], which: OffsetSpec, deadline: float
    ) -> dict[tuple[str, int], int]:
        """Return the first or last offset of partitions, as a `read_committed` reader sees them."""

        def ask(remaining: float) -> dict[tuple[str, int], int]:
            answers = self._client.list_offsets(
                dict.fromkeys(places, which),
                request_timeout=remaining,
                isolation_level=IsolationLevel.READ_COMMITTED,
            )
            return {
                (at.topic, at.partition): self._result(answer, deadline, topic=at.topic).offset
                for at, answer in answers.items()
            }

        return self._repeat(ask, deadline)

    def _committed(
        self, group: str, places: list[TopicPartition], deadline: float
    ) -> dict[tuple[str, int], tuple[int, str | None]]:
        """Return offset and metadata that a group has committed; an offset below zero where it has none."""

        def ask(remaining: float) -> list[TopicPartition]:
            with self._explained():
                return committed(self._options, group, places, timeout=remaining)

        found = self._repeat(ask, deadline)
        return {(each.topic, each.partition): (each.offset, each.metadata) for each in found}

    def _workers(self, group: str, deadline: float) -> dict[str, int]:
        """Return for each topic how many members of a group hold a partition of it, whatever protocol they speak."""

        def question(client: AdminClient, limit: float) -> Future[Any]:
            (answer,) = client.describe_consumer_groups([group], request_timeout=limit).values()
            return answer

        try:
            members = self._ask_coordinator(question, deadline).members
        except RequestRefused as error:
            # A group that never was; or the mock cluster, which cannot say.
            if error.code not in (Code.GROUP_ID_NOT_FOUND, Code.LOCAL_UNSUPPORTED_FEATURE):
                raise
            return {}
        counts: dict[str, int] = {}
        for member in members:
            held = member.assignment.topic_partitions if member.assignment else ()
            for topic in {place.topic for place in held}:
                counts[topic] = counts.get(topic, 0) + 1
        return counts

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

    def _repeat(self, ask: Callable[[float], T], deadline: float) -> T:
        """Ask until a broker is ready to answer: right after a topic was made, or a broker started, it is not."""
        while True:
            remaining = max(0.001, deadline - time.monotonic())
            try:
                return ask(remaining)
            except ConnectionBroken as error:
                if not is_answer(error.code) or remaining <= LOOK_AGAIN:
                    raise
                Event().wait(LOOK_AGAIN)

    def _ask_coordinator(self, question: Question[Any], deadline: float) -> Any:
        """Ask a group's coordinator until it is ready to answer; errors become ours."""

        def ask(remaining: float) -> Any:
            with self._explained():
                return self._coordinator.ask(question, timeout=remaining)

        return self._repeat(ask, deadline)

    def _result(self, answer: Future[Any], deadline: float, *, topic: str = "") -> Any:
        """Wait for an answer; errors become ours."""
        with self._explained(topic):
            return answer.result(max(0.001, deadline - time.monotonic()) + ATTEMPT)

    @contextmanager
    def _explained(self, topic: str = "") -> Iterator[None]:
        """Turn the errors that a question ends with into ours."""
        try:
            yield
        except KafkaException as error:
            self._client.poll(0)
            raise self._error_log.explain(error, topic=topic) from error
        except FutureTimeoutError as error:
            why = "no answer in time"
            broken = ConnectionBroken(Code.LOCAL_TIMED_OUT, "_TIMED_OUT", why)
            raise self._error_log.explain(broken) from error
