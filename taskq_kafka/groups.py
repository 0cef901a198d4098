"""Which group protocol a worker speaks, and who else is in its group.

`auto` asks the broker: a group that is not empty keeps its type. An empty one becomes a KIP-848 group where the broker allows it a
short session, or is an embedded one, else a classic one: with a default broker's 45 s session and 5 s heartbeat a killed worker's
partitions would stand still for three quarters of a minute, and each hand-over would take seconds.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import Any

from confluent_kafka import (
    ConsumerGroupState,
    ConsumerGroupType,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import (
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    OffsetSpec,
    ResourceType,
)

from . import forks
from .codes import RETRIABLE
from .committed import committed
from .coordinator import CoordinatorClient
from .offsets import NewerFormat, State
from .options import TransportOptions

logger = logging.getLogger(__name__)

REQUEST_TIMEOUT = 5.0
"""Seconds for one question to the coordinator."""

HEARTBEAT_TRIES = 3
"""How often the heartbeat interval is doubled where the broker allows none so short; each hand-over takes up to one interval."""

BROKER_KEYS = "group.consumer.min.session.timeout.ms and group.consumer.min.heartbeat.interval.ms"

_EMPTY = frozenset({ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD, ConsumerGroupState.UNKNOWN})


_SETTLED = frozenset({ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD, ConsumerGroupState.STABLE})
"""States in which a classic group does not wait for its members to join. Members of a KIP-848 group never wait for one another."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a group says of one member."""

    listed: bool
    given: frozenset[int]
    """Its partitions of one topic."""

    is_settled: bool
    """False in a classic group's rebalance: who belongs to it is being found out."""

    wanted: frozenset[int] | None = None
    """Those of that topic that it is to have in the end; None in a classic group."""


class Groups:
    """Asks about one consumer group. Any thread may call it."""

    def __init__(
        self,
        options: TransportOptions,
        *,
        ask_committed: Callable[..., list[TopicPartition]] = committed,
    ) -> None:
        """Connect lazily; nothing is asked yet.

        Args:
            options: The connection's options.
            ask_committed: Asks what a group has committed (`committed.committed`).
        """
        self.group = options.prefix + options.group
        self._options = options
        self._lock = threading.Lock()
        self._config = options.admin_config()
        self._admin = forks.new_admin(self._config)
        self._coordinator = CoordinatorClient(self._config)
        self._ask_committed = ask_committed
        self._protocol = ""
        self._is_bare = False
        """Whether the broker cannot even describe a group (librdkafka's mock cluster); asked to configure one it never answers."""

    def answers(self) -> bool:
        """Return whether the broker answers us; blocks for at most five seconds."""
        admin = self._admin
        try:
            admin.list_topics(timeout=REQUEST_TIMEOUT)
        except KafkaException:
            # The next question should be about the broker: a client may stay cut off from one that is back.
            self._admin = forks.new_admin(self._config)
            forks.let_go(admin)
            return False
        return True

    def protocol(self) -> str:
        """Return `consumer` or `classic`; decided once, said in the log. Blocks for a few round trips the first time."""
        with self._lock:
            if not self._protocol:
                requested = self._options.group_protocol
                self._protocol = self._choose() if requested == "auto" else requested
                if requested == "consumer":
                    self._describe()
                    self._shorten_session()
            return self._protocol

    def prefer_classic(self, why: str) -> None:
        """Fall back after the broker refused KIP-848."""
        with self._lock:
            logger.warning(
                "group %s: the broker does not take the consumer protocol (%s); using classic",
                self.group,
                why,
                extra={"event": "group.protocol", "group": self.group, "protocol": "classic"},
            )
            self._protocol = "classic"

    def others(self, topic: str, own: Collection[str]) -> int:
        """Return how many members besides `own` (member ids) hold partitions of a topic, or none at all and so could.

        Blocks for one round trip; 0 where the broker does not answer.
        """
        description = self._describe()
        if description is None:
            return 0
        count = 0
        for member in description.members:
            partitions = member.assignment.topic_partitions if member.assignment else []
            if member.member_id not in own:
                count += not partitions or any(part.topic == topic for part in partitions)
        return count

    def place(self, member_id: str, topic: str) -> Place | None:
        """Return what the group says of a member; None where it does not say. Blocks for a round trip, at most five seconds."""
        description = self._describe()
        if description is None:
            return None
        is_new = description.type is ConsumerGroupType.CONSUMER
        is_settled = is_new or description.state in _SETTLED
        for member in description.members:
            if member.member_id == member_id:
                given = _numbers(member.assignment, topic)
                wanted = _numbers(member.target_assignment, topic) if is_new else None
                return Place(True, given, is_settled, wanted)
        return Place(False, frozenset(), is_settled)

    def has_forgotten(self, member_id: str, topic: str) -> bool:
        """Return whether a member is certainly no member any more. Blocks as `place` does."""
        place = self.place(member_id, topic) if member_id else None
        return place is not None and place.is_settled and not place.listed

    def ends(
        self, topic: str, partitions: Iterable[int], *, is_committed: bool = True
    ) -> dict[int, int]:
        """Return where partitions end, as their leaders say; without those that do not answer.

        Blocks for a round trip, at most five seconds.

        Args:
            topic: Its name.
            partitions: Their numbers.
            is_committed: Whether for a `read_committed` reader, who sees nothing behind the begin of an open transaction.
        """
        places = {TopicPartition(topic, number): OffsetSpec.latest() for number in partitions}
        if not places:
            return {}
        admin = self._admin  # kept until it has answered
        answers = admin.list_offsets(
            places,
            request_timeout=REQUEST_TIMEOUT,
            isolation_level=IsolationLevel.READ_COMMITTED
            if is_committed
            else IsolationLevel.READ_UNCOMMITTED,
        )
        ends = {}
        deadline = time.monotonic() + REQUEST_TIMEOUT
        for place, answer in answers.items():
            with contextlib.suppress(KafkaException, FutureTimeoutError):
                left = max(0.0, deadline - time.monotonic())
                ends[place.partition] = answer.result(left).offset
        return ends

    def stored(self, topic: str, partitions: Sequence[int]) -> dict[int, State] | None:
        """Return what the group has stored for partitions of a topic; None if there was no answer, and there may be one later.

        Left out are partitions without a committed offset, with one of a format that this version does not know, and those of
        which the broker will not tell (no rights, a broker that cannot): of these nothing will ever be known.
        Blocks for a connection and a round trip, at most five seconds.
        """
        places = [TopicPartition(topic, partition) for partition in partitions]
        try:
            found = self._ask_committed(self._options, self.group, places, timeout=REQUEST_TIMEOUT)
        except KafkaException as exception:
            return self._untold(topic, exception.args[0])
        states = {}
        for place in found:
            if place.offset >= 0:
                with contextlib.suppress(NewerFormat, ValueError):
                    states[place.partition] = State.parse(place.offset, place.metadata)
        return states

    def _untold(self, topic: str, error: KafkaError) -> dict[int, State] | None:
        """Return what is known if an error was the answer: None as long as another may come, else nothing."""
        if error.code() in RETRIABLE:
            logger.debug("group %s: no answer what it has stored: %s", self.group, error)
            return None
        logger.warning(
            "group %s: the broker does not tell what is stored for %s (%s, %s), so a commit that was refused counts as not taken; "
            "its tasks do not run here",
            self.group,
            topic,
            error.str(),
            error.name(),
            extra={"event": "group.untold", "group": self.group, "topic": topic},
        )
        return {}

    def _choose(self) -> str:
        description = self._describe()
        if description is not None and description.state not in _EMPTY:
            protocol = "consumer" if description.type is ConsumerGroupType.CONSUMER else "classic"
            reason = "as its members"
        elif self._is_bare:
            # An embedded broker has its members wait three seconds before a classic group begins, and cannot be told otherwise.
            protocol, reason = "consumer", "an embedded broker"
        elif self._shorten_session():
            protocol, reason = "consumer", f"session {self._options.session_timeout:g} s"
        else:
            protocol = "classic"
            reason = f"the broker allows KIP-848 no short session; lower its {BROKER_KEYS}"
        logger.info(
            "group %s: protocol %s (%s)",
            self.group,
            protocol,
            reason,
            extra={"event": "group.protocol", "group": self.group, "protocol": protocol},
        )
        return protocol

    def _describe(self) -> Any:
        """Return the group's description, or None where there is none to be had."""

        def question(client: forks.AdminClient, limit: float) -> Future[Any]:
            (answer,) = client.describe_consumer_groups(
                [self.group], request_timeout=limit
            ).values()
            return answer

        try:
            return self._coordinator.ask(question, timeout=REQUEST_TIMEOUT)
        except (KafkaException, FutureTimeoutError) as error:
            logger.debug("group %s cannot be described: %s", self.group, error)
            told = error.args[0] if isinstance(error, KafkaException) else None
            self._is_bare = told is not None and told.code() == KafkaError._UNSUPPORTED_FEATURE
            return None

    def _shorten_session(self) -> bool:
        """Set the group's session and heartbeat; return whether the broker took them."""
        if self._is_bare:
            return False
        session_ms = int(self._options.session_timeout * 1000)
        for attempt in range(HEARTBEAT_TRIES):
            heartbeat_ms = self._options.heartbeat_ms << attempt
            try:
                self._set_config(session_ms, heartbeat_ms)
            except KafkaException as exception:
                error: KafkaError = exception.args[0]
                logger.debug(
                    "group %s: session %d ms, heartbeat %d ms: %s",
                    self.group,
                    session_ms,
                    heartbeat_ms,
                    error,
                )
                if error.code() != KafkaError.INVALID_CONFIG:
                    return False
            except FutureTimeoutError:
                return False
            else:
                return True
        return False

    def _set_config(self, session_ms: int, heartbeat_ms: int) -> None:
        values = {
            "consumer.session.timeout.ms": session_ms,
            "consumer.heartbeat.interval.ms": heartbeat_ms,
        }
        resource = ConfigResource(
            ResourceType.GROUP,
            self.group,
            incremental_configs=[
                ConfigEntry(name, str(value), incremental_operation=AlterConfigOpType.SET)
                for name, value in values.items()
            ],
        )
        (answer,) = self._admin.incremental_alter_configs(
            [resource], request_timeout=REQUEST_TIMEOUT
        ).values()
        answer.result(timeout=REQUEST_TIMEOUT)


def _numbers(assignment: Any, topic: str) -> frozenset[int]:
    """Return the partitions of one topic in a member's assignment, which may be None."""
    places = assignment.topic_partitions if assignment else ()
    return frozenset(place.partition for place in places if place.topic == topic)
