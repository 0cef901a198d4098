"""Asking the brokers: metadata, settings, offsets; and waiting for answers, with errors that are ours.

What the answers mean is decided elsewhere. Any thread may call; every call blocks, at most until its deadline
(`time.monotonic`), and ends with an error of ours. The AdminClient is kept: one that is collected never answers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from threading import Event
from typing import Any, Final, TypeVar

from confluent_kafka import IsolationLevel, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import ConfigResource, OffsetSpec, ResourceType

from .anybroker import ask_any
from .clientlog import ErrorLog
from .codes import TOPIC_ABSENT, Code, is_answer
from .coordinator import CoordinatorClient, Question
from .errors import ConnectionBroken, RequestRefused
from .forks import new_admin
from .options import TransportOptions

T = TypeVar("T")

GRACE: Final = 0.5
"""Seconds that an answer may be late: the client's own limit, which says more than our timeout, must come first."""

FIRST_TURN: Final = 3.0
"""Seconds for the broker that is asked first to tell the metadata. The client repeats the question to it alone, also if it has died
meanwhile; asked anew it takes another."""

_UNANSWERED: Final = frozenset({Code.LOCAL_TIMED_OUT, Code.LOCAL_TRANSPORT})

LOOK_AGAIN: Final = 0.02
"""Seconds between two looks for something that is about to be there."""


class Questions:
    """The admin client of a process for one configuration."""

    def __init__(self, options: TransportOptions) -> None:
        """Build it; nothing is connected yet."""
        config = options.admin_config()
        self.error_log: ErrorLog = config["error_cb"]
        self.client = new_admin(config)
        self._coordinator = CoordinatorClient(config)

    def metadata(self, topic: str | None, timeout: float) -> Any:
        """Return the cluster's metadata, of one topic (an empty name: of none) or of all."""
        about = () if topic is None else (topic or "__consumer_offsets",)
        turns = [FIRST_TURN, timeout - FIRST_TURN] if timeout > 2 * FIRST_TURN else [timeout]
        while True:
            try:
                return self.client.list_topics(*about, timeout=max(turns.pop(0), 0.001))
            except KafkaException as error:
                self.client.poll(0)
                if not turns or error.args[0].code() not in _UNANSWERED:
                    raise self.error_log.explain(error) from error

    def partitions(self, topic: str, timeout: float) -> list[int]:
        """Return the partitions of a topic; none if it does not exist or has no leaders yet."""
        found = self.metadata(topic, timeout).topics[topic]
        if found.error is not None:
            if (
                found.error.code() in TOPIC_ABSENT
                or found.error.code() == Code.LEADER_NOT_AVAILABLE
            ):
                return []
            raise self.error_log.explain(found.error, topic=topic)
        if any(partition.leader < 0 for partition in found.partitions.values()):
            return []
        return sorted(found.partitions)

    def config(self, resource: ConfigResource, deadline: float) -> Mapping[str, str]:
        """Return the settings of a broker or topic."""
        remaining = max(0.001, deadline - time.monotonic())
        (answer,) = self.client.describe_configs([resource], request_timeout=remaining).values()
        entries = self.result(answer, deadline, topic=resource.name)
        return {name: entry.value for name, entry in entries.items() if entry.value is not None}

    def broker_config(self, deadline: float) -> Mapping[str, str]:
        """Return the settings of one of the brokers, whichever answers."""

        def ask(broker: str, until: float) -> Mapping[str, str]:
            return self.config(ConfigResource(ResourceType.BROKER, broker), until)

        def brokers() -> Collection[int]:
            return list(self.metadata("", deadline - time.monotonic()).brokers)

        return ask_any(brokers, ask, deadline)

    def is_bare(self, deadline: float) -> bool:
        """Return whether it is librdkafka's mock cluster, which never answers most questions."""
        try:
            self.broker_config(deadline)
        except RequestRefused as error:
            return error.code == Code.LOCAL_UNSUPPORTED_FEATURE
        except (LookupError, PermissionError):
            return False
        return False

    def described_topic(self, topic: str, deadline: float) -> Any:
        """Return a topic's description, with what we may do there."""
        (answer,) = self.client.describe_topics(
            TopicCollection([topic]),
            include_authorized_operations=True,
            request_timeout=max(0.001, deadline - time.monotonic()),
        ).values()
        return self.result(answer, deadline, topic=topic)

    def offsets(
        self,
        places: Iterable[TopicPartition],
        which: OffsetSpec,
        deadline: float,
        *,
        isolation: IsolationLevel = IsolationLevel.READ_COMMITTED,
    ) -> dict[tuple[str, int], int]:
        """Return the first or last offset of partitions, by default as a `read_committed` reader sees them."""

        def ask(remaining: float) -> dict[tuple[str, int], int]:
            answers = self.client.list_offsets(
                dict.fromkeys(places, which),
                request_timeout=remaining,
                isolation_level=isolation,
            )
            return {
                (at.topic, at.partition): self.result(answer, deadline, topic=at.topic).offset
                for at, answer in answers.items()
            }

        return self.repeat(ask, deadline)

    def repeat(self, ask: Callable[[float], T], deadline: float) -> T:
        """Ask until a broker is ready to answer: right after a topic was made, or a broker started, it is not."""
        while True:
            remaining = max(0.001, deadline - time.monotonic())
            try:
                return ask(remaining)
            except ConnectionBroken as error:
                if not is_answer(error.code) or remaining <= LOOK_AGAIN:
                    raise
                Event().wait(LOOK_AGAIN)

    def ask_coordinator(self, question: Question[Any], deadline: float) -> Any:
        """Ask a group's coordinator until it is ready to answer; errors become ours."""

        def ask(remaining: float) -> Any:
            with self.explained():
                return self._coordinator.ask(question, timeout=remaining)

        return self.repeat(ask, deadline)

    def result(self, answer: Future[Any], deadline: float, *, topic: str = "") -> Any:
        """Wait for an answer; errors become ours."""
        with self.explained(topic):
            return answer.result(max(0.001, deadline - time.monotonic()) + GRACE)

    @contextmanager
    def explained(self, topic: str = "") -> Iterator[None]:
        """Turn the errors that a question ends with into ours."""
        try:
            yield
        except KafkaException as error:
            self.client.poll(0)
            raise self.error_log.explain(error, topic=topic) from error
        except FutureTimeoutError as error:
            why = "no answer in time"
            broken = ConnectionBroken(Code.LOCAL_TIMED_OUT, "_TIMED_OUT", why)
            raise self.error_log.explain(broken) from error


def operations(described: Any) -> frozenset[str] | None:
    """Return what we may do with what was described, as Kafka's own tools name it (`DescribeConfigs`); None if it is not told."""
    allowed: Iterable[Any] | None = described.authorized_operations
    if allowed is None:
        return None
    return frozenset(
        "".join(part.capitalize() for part in operation.name.split("_")) for operation in allowed
    )
