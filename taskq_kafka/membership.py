"""One member of a consumer group, on one topic: its Consumer, its partitions, and what rebalances do to them.

Used by one thread, the consumer's owner. The callbacks run inside `poll` and `consume`; exceptions would come out of these in odd
shapes, so none leaves a callback.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from . import forks
from .assignment import Assignment, Owned, Trouble
from .clientlog import LossLog
from .codes import RETRIABLE
from .errors import map_error
from .groups import Groups
from .heldwatch import HELD_SECONDS, HeldWatch
from .lane import CommitLane, Forgotten
from .offsets import NewerFormat, State
from .options import TransportOptions
from .topics import topic_of
from .watchdog import CONFIRM, PATIENCE, Look, Replacements, Sighting, Watchdog

logger = logging.getLogger(__name__)

COMMITTED_TIMEOUT = 20.0
"""Seconds to wait for the group's offsets when partitions are assigned; then the member starts anew."""

SESSIONS = 3
"""How many sessions a silence must last at least before others are asked: a member that is fenced needs one to join again."""

LEAVE_TIMEOUT = 5.0
"""Seconds to wait on leaving for librdkafka's revoke. It asks nobody but for the commit of what is settled: milliseconds."""

LAG_REFRESH = 1.0
"""Seconds for which a measured lag is believed. While paused no fetch brings news of the ends, and asking costs a round trip."""

WATERMARK_TIMEOUT = 10.0
"""Seconds to wait for the ends of a partition where they decide something."""


@dataclass(frozen=True, slots=True)
class RebalanceEvent:
    """Partitions that came or went: `kind` is `assigned`, `revoked` or `lost`."""

    kind: str
    partitions: Sequence[int]


class Membership:
    """Joins, leaves, and keeps the partitions' state."""

    def __init__(
        self,
        options: TransportOptions,
        queue: str,
        *,
        groups: Groups,
        before_revoke: Callable[[Collection[int]], None],
        on_rebalance: Callable[[RebalanceEvent], None] | None,
    ) -> None:
        """Join the group; returns before an assignment has arrived.

        Args:
            options: The connection's options.
            queue: The queue's name.
            groups: Says which protocol the group speaks.
            before_revoke: Called with revoked partitions while they are still ours, to commit what is settled.
            on_rebalance: Told what came or went; must return at once.
        """
        self.queue = queue
        self.topic = topic_of(options.prefix, queue)
        self.group = groups.group
        self.assignment = Assignment()
        self.rebalances = 0
        """Counts rebalances: a change during a call makes what the call returned doubtful."""
        self.paused = False
        self.joined = False
        self.assigned = False
        """Whether an assignment has arrived since the join; any thread may read it."""
        self.member_id = ""
        """As the broker knows us; any thread may read it."""
        self.replace_because = ""
        """Why the Consumer must be replaced before the next poll; empty if it need not."""
        self._options = options
        self._groups = groups
        self._before_revoke = before_revoke
        self._on_rebalance = on_rebalance
        self.watchdog = Watchdog(
            patience=max(PATIENCE, SESSIONS * options.session_timeout),
            confirm=max(CONFIRM, 2 * options.heartbeat_ms / 1000),
        )
        self._held = HeldWatch()
        self._replacements = Replacements()
        self._reopen_at: float | None = None
        """When the next Consumer is made; None while there is one."""
        self._awaits_assignment = False
        self._left_alone: set[int] = set()
        """Partitions that were assigned to us and are for a newer version."""
        self._gone: Sequence[int] = ()
        """Partitions of a Consumer that was left behind, of which nobody was told yet that they are lost."""
        self._lag = (0.0, 0)
        self.protocol = groups.protocol()
        self.consumer = self._open()
        self._lane = CommitLane(self.consumer, self._is_forgotten)
        self._subscribe()

    # -- joining and leaving ------------------------------------------------------------------------------------------

    def leave(self) -> None:
        """Leave the group; what was fetched and not claimed is void. `rejoin` undoes it. Blocks a few milliseconds."""
        if self.joined:
            self._before_revoke(self.assignment.partitions)
            self.joined = self.assigned = False
            if self._reopen_at is None:
                self.consumer.unsubscribe()
                self._let_go()

    def _let_go(self) -> None:
        """Have the partitions revoked now: until the callback has run, this member stays in the group and nobody gets them."""
        deadline = time.monotonic() + LEAVE_TIMEOUT
        while len(self.assignment) and time.monotonic() < deadline:
            self.consumer.poll(0.01)  # a record that comes is void
        self.assignment = Assignment(self.assignment.next_epoch)

    def rejoin(self) -> None:
        """Join the group again after `leave`."""
        if not self.joined:
            self.paused = False
            self.joined = True
            if self._reopen_at is None:
                self._subscribe()

    def close(self) -> None:
        """Leave the group for good."""
        self.joined = self.assigned = False
        if self._reopen_at is None:
            self._lane.close()
        self.assignment = Assignment(self.assignment.next_epoch)

    def replace(self) -> None:
        """Close the Consumer; `reopen` makes the next one. What was fetched and not claimed is void.

        Meanwhile the partitions are with other members: what cannot be helped by replacing is no storm of joins and leaves.
        """
        wait = self._replacements.wait(time.monotonic())
        logger.warning(
            "queue %s: replacing the consumer (%s)%s",
            self.queue,
            self.replace_because,
            f"; joins again in {wait:.0f} s, as it was replaced before" if wait else "",
            extra={"event": "consumer.replaced", "queue": self.queue, "wait": wait},
        )
        self.replace_because = ""
        is_left_behind = self._reopen_at is not None
        self._lose_all()
        if self._gone:
            self._tell("lost", self._gone)
        self._gone = ()
        self._reopen_at = time.monotonic() + wait
        if not is_left_behind:
            self._lane.close()

    def reopen(self) -> float:
        """Make the next Consumer after `replace` if it is time; return the seconds that are left, 0 if there is a Consumer."""
        if self._reopen_at is not None:
            left = self._reopen_at - time.monotonic()
            if left > 0:
                return left
            self.protocol = self._groups.protocol()
            self.consumer = self._open()
            self._lane = CommitLane(self.consumer, self._is_forgotten)
            self._reopen_at = None
            if self.joined:
                self._subscribe()
        return 0.0

    def commit(self, places: Sequence[TopicPartition]) -> Sequence[TopicPartition]:
        """Commit, and return each place with its error or None. Blocks through an outage.

        Raises:
            KafkaException: The commit failed as a whole, or got no answer.
            Forgotten: It got none and never will. The Consumer was left behind, and all partitions are lost.
        """
        try:
            return self._lane.commit(places)
        except Forgotten as error:
            self._lose_all()
            self._reopen_at = time.monotonic()
            self.replace_because = str(error)
            raise

    def _is_forgotten(self) -> bool:
        return self._groups.has_forgotten(self.member_id, self.topic)

    def _lose_all(self) -> None:
        """Void all that is ours, without a call to the Consumer."""
        self._gone = (*self._gone, *self.assignment.partitions)
        self.assignment = Assignment(self.assignment.next_epoch)
        self.rebalances += 1
        self.assigned = False
        self.member_id = ""

    def refuse_protocol(self, error: KafkaError) -> None:
        """Take note of a fatal error; where the broker knows no KIP-848 and nobody insisted on it, go on as a classic member."""
        if (
            error.code() == KafkaError.UNSUPPORTED_VERSION
            and self._options.group_protocol == "auto"
        ):
            self._groups.prefer_classic(error.str())
        self.replace_because = error.str()

    def watch(self, *, is_silent: bool) -> None:
        """Take note of a poll; have the Consumer replaced if others know better.

        Blocks for a few round trips when it is time to ask, up to fifteen seconds while the broker is away.

        Args:
            is_silent: Whether it brought nothing.
        """
        (self.watchdog.silent if is_silent else self.watchdog.heard)(time.monotonic())
        look = self.watchdog.due()
        if self.joined and look is not Look.NOTHING:
            sighting = self._ask_others(look)
            if sighting is None:
                self.watchdog.put_off()
            else:
                self.replace_because = self.watchdog.judge(sighting, look)

    def watch_transactions(self) -> None:
        """Say, once for each, that an open transaction holds up a partition. Asks leaders where it looks like one, else nobody."""
        now = time.monotonic()
        if not self._held.is_due(now):
            return
        places = {} if self.paused or not self.joined else self._positions()
        suspects = self._held.suspects(
            {number: place for number, place in places.items() if place < self._written(number)},
            now,
        )
        if not suspects:
            return
        ends = self._groups.ends(self.topic, suspects, is_committed=False)
        stable = self._groups.ends(self.topic, suspects)
        for partition, offset in self._held.held(suspects, stable, ends):
            logger.error(
                "queue %s partition %d: an open transaction has held back all from offset %d on for %.0f s; if it is no long one "
                "of another program, it hangs: 'taskq doctor' says how to end it",
                self.queue,
                partition,
                offset,
                HELD_SECONDS,
                extra={
                    "event": "consumer.held_up",
                    "queue": self.queue,
                    "partition": partition,
                    "offset": offset,
                },
            )

    def _written(self, partition: int) -> int:
        """Return where a partition ended at its last fetch, also behind an open transaction. Asks nobody."""
        place = TopicPartition(self.topic, partition)
        try:
            return int(self.consumer.get_watermark_offsets(place, timeout=1, cached=True)[1])
        except KafkaException:
            return 0

    def _ask_others(self, look: Look) -> Sighting | None:
        """Return what the group says, and the leaders of our partitions where all are asked; None if no broker answers."""
        if not self._groups.answers():
            return None
        member_id = self.consumer.memberid()  # None in a classic group before the join
        place = self._groups.place(member_id or "", self.topic)
        if place is not None and (not place.is_settled or self.consumer.memberid() != member_id):
            # It is joining just now, and so are others.
            return Sighting()
        positions = {} if self.paused or look is not Look.ALL else self._positions()
        return Sighting(
            listed=None if place is None else place.listed,
            given=frozenset() if place is None else place.given,
            wanted=None if place is None else place.wanted,
            known=frozenset(self.assignment.partitions) | self._left_alone,
            awaits=self._awaits_assignment,
            positions=positions,
            ends=self._groups.ends(self.topic, positions),
        )

    def _positions(self) -> dict[int, int]:
        """Return the offset to read next of each partition that is fetched from."""
        return {owned.partition: owned.position for owned in self.assignment if owned.is_fetched}

    def stored(self, partitions: Sequence[int]) -> Mapping[int, State] | None:
        """Ask the group what it has stored for partitions, as somebody who need not be a member; None if nobody answers."""
        return self._groups.stored(self.topic, partitions)

    def _open(self) -> forks.Consumer:
        config = self._options.consumer_config(self.group, self.protocol)
        config["logger"] = LossLog(self.watchdog.lost_answer)
        return forks.new_consumer(config)

    def _subscribe(self) -> None:
        self.consumer.subscribe(
            [self.topic],
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )
        self.joined = True
        # A KIP-848 member without partitions hears nothing; a classic one is always told.
        self._awaits_assignment = self.protocol == "classic"
        self._left_alone.clear()
        self.watchdog.restart()

    # -- callbacks ----------------------------------------------------------------------------------------------------

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if self._is_past(consumer):
            return
        try:
            self._take_over(consumer, partitions)
        except Exception as error:
            # A coordinator that is slow or has just moved is nobody's mistake; that the member starts anew is said anyway.
            if not (isinstance(error, KafkaException) and error.args[0].code() in RETRIABLE):
                logger.exception(
                    "queue %s: taking over partitions failed; joining again",
                    self.queue,
                    extra={"event": "consumer.error", "queue": self.queue},
                )
            self.replace_because = f"taking over partitions failed: {error}"

    def _is_past(self, consumer: Consumer) -> bool:
        """Return whether a callback comes from a Consumer that was given up; perhaps in another thread, from one left behind."""
        return consumer is not self.consumer or self._reopen_at is not None

    def _take_over(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.rebalances += 1
        # Offset and metadata must be of one moment: read once, start there, never let librdkafka look again.
        stored = consumer.committed(partitions, timeout=COMMITTED_TIMEOUT) if partitions else []
        taken = [owned for owned in map(self._enter, stored) if owned is not None]
        consumer.incremental_assign(
            [
                TopicPartition(self.topic, owned.partition, owned.position or OFFSET_BEGINNING)
                for owned in taken
            ]
        )
        if self.paused:
            self._pause(taken)
        elif taken:
            # librdkafka remembers that a partition was paused when it was revoked, and would never fetch it again.
            consumer.resume([TopicPartition(self.topic, owned.partition) for owned in taken])
        self.assigned = True
        self._awaits_assignment = False
        self.watchdog.restart()
        self.member_id = consumer.memberid()
        self._tell("assigned", [owned.partition for owned in taken])

    def _enter(self, stored: TopicPartition) -> Owned | None:
        """Enter one partition with what the group has stored; None if this version must leave it alone."""
        if stored.error is not None:
            raise KafkaException(stored.error)
        unproven = stored.offset < 0
        try:
            state = State(0) if unproven else State.parse(stored.offset, stored.metadata)
        except NewerFormat as error:
            logger.error(
                "queue %s partition %d: %s",
                self.queue,
                stored.partition,
                error,
                extra={"event": "consumer.newer_format", "queue": self.queue},
            )
            self._left_alone.add(stored.partition)
            return None
        owned = self.assignment.assign(stored.partition, state, unproven=unproven)
        owned.rebalance = self.rebalances
        return owned

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if self._is_past(consumer):
            return
        try:
            with self._lane.inside_of_a_call():
                self._before_revoke([partition.partition for partition in partitions])
            self._give_up(consumer, partitions, "revoked")
        except Exception:  # noqa: BLE001 - a callback's door, and the log has the traceback
            self._say_failed("giving up partitions")

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if self._is_past(consumer):
            return
        try:
            # Never commit: somebody else may own them by now.
            self._give_up(consumer, partitions, "lost")
            self._awaits_assignment = True
        except Exception:  # noqa: BLE001 - as above
            self._say_failed("losing partitions")

    def _give_up(self, consumer: Consumer, partitions: list[TopicPartition], kind: str) -> None:
        self.rebalances += 1
        self.watchdog.restart()
        self._left_alone.difference_update(partition.partition for partition in partitions)
        removed = self.assignment.remove(partition.partition for partition in partitions)
        consumer.incremental_unassign(partitions)
        self._tell(kind, [owned.partition for owned in removed])

    def _tell(self, kind: str, partitions: Iterable[int]) -> None:
        self._lag = (0.0, 0)
        if self._on_rebalance is not None:
            self._on_rebalance(RebalanceEvent(kind, tuple(sorted(partitions))))

    def _say_failed(self, what: str) -> None:
        logger.exception(
            "queue %s: %s failed",
            self.queue,
            what,
            extra={"event": "consumer.error", "queue": self.queue},
        )

    # -- flow ---------------------------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Fetch nothing more; librdkafka throws away what it has prefetched."""
        if not self.paused:
            self.paused = True
            self._pause(self.assignment)

    def resume(self) -> None:
        """Fetch again, at once: `resume` alone would wait for the fetcher's next look, up to a second; the seek wakes it."""
        if self.paused:
            self.paused = False
            self.watchdog.forget()
            self._resume([owned for owned in self.assignment if owned.is_fetched])

    def pass_over(self, partitions: Collection[int], reason: str) -> None:
        """Take no more from these of our partitions, and again from others that were passed over for this reason only.

        One that comes anew is not passed over. librdkafka throws away what it has prefetched of a partition that is paused: it is
        fetched again.
        """
        stop: list[Owned] = []
        go_on: list[Owned] = []
        for owned in self.assignment:
            was_passed_over = bool(owned.passed_over)
            if owned.partition in partitions:
                owned.passed_over.add(reason)
            else:
                owned.passed_over.discard(reason)
            if bool(owned.passed_over) != was_passed_over:
                (go_on if was_passed_over else stop).append(owned)
        self._pause(stop)
        if go_on:
            self.watchdog.forget()
            if not self.paused:
                self._resume([owned for owned in go_on if owned.is_fetched])

    def block(self, owned: Owned, offset: int) -> None:
        """Take no more from a partition whose state does not fit a commit, until `unblock`.

        Args:
            owned: The partition.
            offset: Of its lowest unfinished record.
        """
        owned.blocked = owned.is_full = True
        self._pause([owned])
        logger.error(
            "queue %s partition %d: taking no more: what is finished and at work above offset %d, which is unfinished, does not "
            "fit a commit; goes on by itself when that record is finished",
            self.queue,
            owned.partition,
            offset,
            extra={
                "event": "consumer.blocked",
                "queue": self.queue,
                "partition": owned.partition,
                "offset": offset,
            },
        )

    def block_for_a_while(self, owned: Owned, why: str) -> None:
        """Take no more from a partition whose commit failed, until it is time to try again. Said the first time only."""
        is_news = owned.trouble is None
        owned.trouble = owned.trouble or Trouble()
        owned.trouble.fail(time.monotonic())
        if not owned.blocked:
            owned.blocked = True
            self._pause([owned])
        logger.log(
            logging.ERROR if is_news else logging.DEBUG,
            "queue %s partition %d: taking no more: its commit is refused: %s; tried again by itself, at first in a second, later "
            "every minute",
            self.queue,
            owned.partition,
            why,
            extra={
                "event": "consumer.blocked",
                "queue": self.queue,
                "partition": owned.partition,
            },
        )

    def recover(self, owned: Owned) -> None:
        """Take from a partition again whose commits had failed: one was taken."""
        owned.trouble = None
        if owned.blocked:
            self.unblock(owned)
        logger.info(
            "queue %s partition %d: its commit was taken; going on",
            self.queue,
            owned.partition,
            extra={
                "event": "consumer.recovered",
                "queue": self.queue,
                "partition": owned.partition,
            },
        )

    def unblock(self, owned: Owned) -> None:
        """Take from a blocked partition again."""
        if owned.is_full:
            logger.info(
                "queue %s partition %d: its state fits a commit again; going on",
                self.queue,
                owned.partition,
                extra={
                    "event": "consumer.recovered",
                    "queue": self.queue,
                    "partition": owned.partition,
                },
            )
        owned.blocked = owned.is_full = False
        self.watchdog.forget()
        if not self.paused and owned.is_fetched:
            self._resume([owned])

    def seek(self, owned: Owned, offset: int | None = None) -> None:
        """Read on at an offset; by default where nothing is skipped: at the lowest record given back, else after the last seen."""
        if offset is None:
            offset = min(owned.offsets.position, owned.position)
        owned.position = offset
        target = TopicPartition(self.topic, owned.partition, offset or OFFSET_BEGINNING)
        try:
            self.consumer.seek(target)
        except KafkaException:
            # A partition that is not being fetched (just assigned, or its offset was out of range) cannot seek; it can begin anew.
            self._begin_at(owned, target)

    def _begin_at(self, owned: Owned, target: TopicPartition) -> None:
        try:
            self.consumer.incremental_unassign([target])
            self.consumer.incremental_assign([target])
            if self.paused or not owned.is_fetched:
                self._pause([owned])
        except KafkaException as error:
            # Records given back would not come again to this member.
            self.replace_because = f"cannot read on at an offset: {error.args[0].str()}"

    def watermarks(self, partition: int) -> tuple[int, int]:
        """Ask the broker for a partition's first offset and the end of it. Blocks for a round trip.

        Raises:
            TaskqKafkaError: No answer.
        """
        try:
            return self.consumer.get_watermark_offsets(
                TopicPartition(self.topic, partition), timeout=WATERMARK_TIMEOUT, cached=False
            )
        except KafkaException as error:
            raise map_error(error, address=self._options.bootstrap) from error

    def lag(self) -> int:
        """Return how many records wait on the own partitions; a second old at the most. Asks the broker only of what is paused."""
        measured, lag = self._lag
        if time.monotonic() - measured < LAG_REFRESH:
            return lag
        lag = sum(self._lag_of(owned) for owned in self.assignment)
        self._lag = (time.monotonic(), lag)
        return lag

    def _lag_of(self, owned: Owned) -> int:
        try:
            ends = self.consumer.get_watermark_offsets(
                TopicPartition(self.topic, owned.partition),
                timeout=1,
                cached=not (self.paused or owned.passed_over),
            )
        except KafkaException:
            return 0
        low, high = ends  # both -1001 before the first fetch
        return max(0, high - max(owned.offsets.position, low))

    def _pause(self, partitions: Iterable[Owned]) -> None:
        targets = [TopicPartition(self.topic, owned.partition) for owned in partitions]
        if targets:
            self.consumer.pause(targets)

    def _resume(self, partitions: list[Owned]) -> None:
        if partitions:
            self.consumer.resume([TopicPartition(self.topic, o.partition) for o in partitions])
            for owned in partitions:
                self.seek(owned)
