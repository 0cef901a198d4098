"""A host's place in its group: which partitions of the log are its own, its leases, and the records that come.

One thread uses it. The callbacks run inside `poll` and `close`, and only note what came and went: opening a shard takes more than a
callback should, so the host does it afterwards. None raises.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from . import forks
from .clientlog import ErrorLog, LossLog
from .errors import COMMIT_REPEAT, TaskqKafkaError
from .groups import Groups
from .lane import CommitLane, Forgotten
from .options import TransportOptions
from .watchdog import CONFIRM, PATIENCE, Look, Sighting, Watchdog

logger = logging.getLogger(__name__)

BATCH: Final = 500
"""Records taken at once. Between two looks at what is due so many are applied, which takes some milliseconds."""

COMMITTED_SECONDS: Final = 10.0

ANSWER_SECONDS: Final = 1.0
"""For a broker to answer at a stop; without one the leases stay, and the heir shuts us out, which takes it a moment longer."""

SESSIONS: Final = 3
"""How many sessions a silence must last at least before others are asked."""

_PASSING: Final = COMMIT_REPEAT | {
    KafkaError._MAX_POLL_EXCEEDED,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
}
"""Errors after which the Consumer goes on by itself."""


class ShardMember:
    """One Consumer in a host's group."""

    def __init__(
        self,
        options: TransportOptions,
        topic: str,
        groups: Groups,
        *,
        on_revoke: Callable[[list[int]], None],
        on_lost: Callable[[list[int]], None],
    ) -> None:
        """Join the group; returns before an assignment has arrived.

        Args:
            options: The connection's options.
            topic: The log's topic.
            groups: Of the host's group; says which protocol it speaks.
            on_revoke: Told of partitions that are given up and are still ours, so that their leases can be released.
            on_lost: Told of partitions that are somebody else's by now.
        """
        self.assigned: set[int] = set()
        """The partitions that the group gave us."""

        self.was_told = False
        """Whether an assignment has arrived."""

        self.replace_because = ""
        """Why a new member is needed; empty if none is."""

        self._options = options
        self._topic = topic
        self._groups = groups
        self._on_revoke = on_revoke
        self._on_lost = on_lost
        self._reading: set[int] = set()
        self._id = ""
        """As the broker knows us."""
        self._watchdog = Watchdog(
            patience=max(PATIENCE, SESSIONS * options.session_timeout),
            confirm=max(CONFIRM, 2 * options.heartbeat_ms / 1000),
        )
        self._protocol = groups.protocol()
        # A KIP-848 member without partitions hears nothing; a classic one is always told.
        self._awaits_assignment = self._protocol == "classic"
        config = options.owner_config(groups.group, self._protocol)
        config["logger"] = LossLog(self._watchdog.lost_answer)
        self._error_log: ErrorLog = config["error_cb"]
        self._consumer = forks.new_consumer(config)
        self._lane = CommitLane(self._consumer, self._is_forgotten)
        self._is_left_behind = False
        self._consumer.subscribe(
            [topic],
            on_assign=self._assigned_more,
            on_revoke=self._revoked,
            on_lost=self._lost,
        )

    # -- records ------------------------------------------------------------------------------------------------------

    def poll(self, timeout: float) -> list[Message]:
        """Return what has arrived, records and events; waits up to `timeout` seconds for the first only."""
        first = self._consumer.poll(timeout)
        if first is None:
            return []
        return [first, *self._consumer.consume(BATCH, 0)]

    def begin(self, partitions: Iterable[int]) -> None:
        """Read partitions from their beginning; nothing of an earlier reading comes any more."""
        numbers = set(partitions)
        self.end(numbers & self._reading)
        if numbers:
            self._consumer.incremental_assign(
                [TopicPartition(self._topic, number, OFFSET_BEGINNING) for number in numbers]
            )
            self._reading |= numbers

    def end(self, partitions: Iterable[int]) -> None:
        """Read partitions no more."""
        numbers = set(partitions) & self._reading
        if numbers:
            self._reading -= numbers
            try:
                self._consumer.incremental_unassign(
                    [TopicPartition(self._topic, number) for number in numbers]
                )
            except (
                KafkaException
            ) as error:  # it is of no more use, and whoever ends shards should end them all
                self.replace_because = f"cannot let go of partitions: {error.args[0].str()}"

    def written_until(self, partition: int) -> int:
        """Return where a partition ended at its last fetch, with what stands behind an open transaction. Asks nobody."""
        place = TopicPartition(self._topic, partition)
        return int(self._consumer.get_watermark_offsets(place, cached=True)[1])

    # -- leases -------------------------------------------------------------------------------------------------------

    def leases(self, partitions: Iterable[int]) -> dict[int, str | None]:
        """Return what stands in the group's commits for partitions. Blocks for a round trip.

        Raises:
            KafkaException: There was no answer.
        """
        places = [TopicPartition(self._topic, number) for number in partitions]
        found = self._consumer.committed(places, timeout=COMMITTED_SECONDS)
        for place in found:
            if place.error is not None:
                raise KafkaException(place.error)
        return {place.partition: place.metadata if place.offset >= 0 else None for place in found}

    def write_leases(self, leases: Mapping[int, str]) -> None:
        """Commit leases. Blocks for a round trip; must not follow a poll that may have cost us the partitions.

        Raises:
            KafkaException: Refused, as we are not, or no more, a member; or there was no answer.
        """
        places = [TopicPartition(self._topic, number, 0, text) for number, text in leases.items()]
        try:
            answers = self._lane.commit(places)
        except Forgotten as error:
            self._is_left_behind = True
            self._reading.clear()
            self.replace_because = str(error)
            raise KafkaException(
                KafkaError(KafkaError.UNKNOWN_MEMBER_ID, self.replace_because)
            ) from error
        for place in answers:
            if place.error is not None:
                raise KafkaException(place.error)

    def _is_forgotten(self) -> bool:
        return self._groups.has_forgotten(self._id, self._topic)

    def open_transactions(self, partitions: Iterable[int]) -> list[int]:
        """Return those partitions in which a transaction is open, as far as their leaders tell. Blocks for a round trip or two."""
        numbers = list(partitions)
        seen = self._groups.ends(self._topic, numbers)
        written = self._groups.ends(self._topic, numbers, is_committed=False)
        return [number for number in numbers if seen.get(number, 0) < written.get(number, 0)]

    # -- health -------------------------------------------------------------------------------------------------------

    def watch(self, positions: Callable[[], Mapping[int, int]], *, is_silent: bool) -> None:
        """Take note of a poll; sets `replace_because` if others know better.

        Blocks for a few round trips when it is time to ask, up to fifteen seconds while the broker is away.

        Args:
            positions: Tells the offset to read next of each partition that is read.
            is_silent: Whether the poll brought nothing.
        """
        (self._watchdog.silent if is_silent else self._watchdog.heard)(time.monotonic())
        look = self._watchdog.due()
        if look is Look.NOTHING:
            return
        asked = positions() if look is Look.ALL else {}
        sighting = self._ask_others(asked) if self._groups.answers() else None
        if sighting is None:
            self._watchdog.put_off()
        else:
            self.replace_because = self._watchdog.judge(sighting, look)

    def _ask_others(self, positions: Mapping[int, int]) -> Sighting:
        member_id = self._consumer.memberid() or ""
        place = self._groups.place(member_id, self._topic)
        if place is not None and not place.is_settled:
            return Sighting()
        return Sighting(
            listed=None if place is None else place.listed,
            given=frozenset() if place is None else place.given,
            wanted=None if place is None else place.wanted,
            known=frozenset(self.assigned),
            awaits=self._awaits_assignment,
            positions=positions,
            ends=self._groups.ends(self._topic, positions),
        )

    def accept(self, error: KafkaError) -> None:
        """Act on an error that stands in a record's place.

        Raises:
            TaskqKafkaError: Nothing will come until somebody acts (no rights).
        """
        if error.fatal():
            if (
                error.code() == KafkaError.UNSUPPORTED_VERSION
                and self._options.group_protocol == "auto"
            ):
                self._groups.prefer_classic(error.str())
            self.replace_because = error.str()
        elif error.code() in _PASSING:
            logger.debug("%s: %s; the consumer goes on by itself", self._topic, error)
        else:
            raise self.explain(error)

    def explain(self, error: KafkaError | KafkaException) -> TaskqKafkaError:
        """Return our error for one of the client's."""
        return self._error_log.explain(error, topic=self._topic)

    def answers(self) -> bool:
        """Return whether a broker answers now. Blocks for a second at most."""
        if self._is_left_behind:
            return False
        try:
            self._consumer.list_topics(self._topic, timeout=ANSWER_SECONDS)
        except KafkaException:
            return False
        return True

    def close(self) -> None:
        """Leave the group; what is ours is revoked first."""
        if not self._is_left_behind:
            self._lane.close()
        self.assigned.clear()
        self.was_told = False

    # -- callbacks ----------------------------------------------------------------------------------------------------

    def _assigned_more(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if self._is_left_behind:
            return
        try:
            # Nothing is read yet: first the leases are taken. Without this call the client would begin by itself.
            consumer.incremental_assign([])
            self._id = consumer.memberid() or ""
            self.assigned |= {place.partition for place in partitions}
            self.was_told = True
            self._awaits_assignment = False
            self._watchdog.restart()
        except Exception as error:  # noqa: BLE001 - a callback's door, and the log has the traceback
            self._fail("taking note of an assignment", error)

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._let_go(partitions, self._on_revoke)

    def _lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._awaits_assignment = True
        self._let_go(partitions, self._on_lost)

    def _let_go(self, partitions: list[TopicPartition], tell: Callable[[list[int]], None]) -> None:
        if self._is_left_behind:  # it has come back, perhaps in another thread
            return
        numbers = {place.partition for place in partitions}
        try:
            with self._lane.inside_of_a_call():
                tell(sorted(numbers))
        except Exception as error:  # noqa: BLE001 - as above
            self._fail("giving up partitions", error)
        try:
            self.assigned -= numbers
            self._watchdog.restart()
            gone = numbers & self._reading
            self._reading -= gone
            # Also where there is nothing to end: without the call the client would take it all.
            self._consumer.incremental_unassign(
                [TopicPartition(self._topic, number) for number in gone]
            )
        except Exception as error:  # noqa: BLE001 - as above
            self._fail("giving up partitions", error)

    def _fail(self, what: str, error: Exception) -> None:
        logger.exception(
            "%s: %s failed; joining again", self._topic, what, extra={"event": "shards.error"}
        )
        self.replace_because = f"{what} failed: {error}"
