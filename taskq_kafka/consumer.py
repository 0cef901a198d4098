"""One queue, one group member, one thread: fetch, claim, settle.

A `QueueConsumer` is used by exactly one thread, its owner, and never in a fork of its process (NotThisProcess): since
confluent-kafka 2.16 all calls of a Consumer share one lock, and a commit from a second thread would wait for the poller. What may
be committed is decided in offsets.py, what is ours in membership.py, what an answer to a commit means in commits.py.

Why a claim is safe. The broker checks who commits (member id and epoch), not which partition. So:

- a batch belongs to the assignment it was fetched in; the rebalance callbacks, which run inside `fetch`, void it;
- between collecting a batch and the definite answer to its commit this thread does not poll: a member that was frozen past its
  session is refused only until it polls and joins again, and then the same commit would rewind its heir;
- a commit without an answer is repeated as it is; a refused one means that nothing of it may run.

A crash between the broker's yes and the run loses the records of that claim, and only these.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError, Message

from . import forks
from .assignment import Owned
from .commits import Answer, CommitRequest, commit, new_stamps
from .errors import COMMIT_REPEAT, ClaimGivenUp, map_error
from .giveup import never
from .groups import Groups
from .membership import Membership, RebalanceEvent
from .moves import Ending, LogWrite, Mover, MoveRequest
from .offsets import METADATA_LIMIT, Expiry, State
from .options import TransportOptions
from .records import Record, headers_of
from .retention import offsets_retention_ms

logger = logging.getLogger(__name__)

OFFSETS_RETENTION_LEAST_MS = 60_000
"""The shortest time a broker can be told to keep the offsets of an empty group; younger records need no look at its setting."""

POLLS_KEPT = 64
"""Polls whose records can still be moved; a worker moves what one has brought before the next. Older records come again first."""

GO_ON_BELOW = METADATA_LIMIT * 3 // 4
"""Characters of a partition's state below which a partition whose state did not fit goes on: not to stop again at once."""

_PASSING_ERRORS = COMMIT_REPEAT | {
    KafkaError._MAX_POLL_EXCEEDED,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
}
"""Errors of a fetch after which the Consumer goes on by itself."""


@dataclass(frozen=True, slots=True)
class ConsumerStatus:
    """What a consumer knows about its place in the group."""

    partitions: Sequence[int] = ()
    member: bool = False
    assigned: bool = False
    lag: int = 0
    group: str = ""
    protocol: str = ""
    blocked: Mapping[int, int] = field(default_factory=dict)
    """Partitions of which no more is taken, because what is finished above an unfinished record, whose offset this is, does not
    fit a commit."""


def _at_once() -> bool:
    """Answer True: a commit that is not repeated, because the next one says the same."""
    return True


@dataclass(slots=True)
class Batch:
    """What a claim is to do to one partition."""

    records: list[Record] = field(default_factory=list)
    settling: set[int] = field(default_factory=set)
    starting: set[int] = field(default_factory=set)
    alone: set[int] = field(default_factory=set)
    left_out: list[Record] = field(default_factory=list)
    """Records for which the commit has no room."""

    def keep_only(self, offset: int | None) -> bool:
        """Leave out all but one record; return whether that is fewer than before, and it is there."""
        kept = [record for record in self.records if record.offset == offset]
        is_news = bool(kept) and len(self.records) > 1
        if is_news or offset is None:
            self.left_out += [record for record in self.records if record.offset != offset]
            self.records = kept
            places = {offset}
            self.settling &= places
            self.starting &= places
            self.alone &= places
        return is_news


class QueueConsumer:
    """Fetches and claims the records of one queue as one member of its consumer group."""

    def __init__(
        self,
        options: TransportOptions,
        queue: str,
        *,
        groups: Groups,
        tags: Iterator[int],
        on_rebalance: Callable[[RebalanceEvent], None] | None = None,
        before_revoke: Callable[[Collection[int]], None] = lambda partitions: None,
    ) -> None:
        """Join the group; returns before an assignment has arrived.

        Args:
            options: The connection's options.
            queue: The queue's name; its topic should exist.
            groups: Says which protocol the group speaks.
            tags: Makes delivery tags, unique on the channel.
            on_rebalance: Called inside `fetch` with what came or went; must return at once.
            before_revoke: Called while the partitions are still ours that are to be given up; what it settles is committed.
        """
        self.queue = queue
        self._tell_before_revoke = before_revoke
        self._options = options
        self._tags = tags
        self._stamps = new_stamps()
        self._owner = forks.Owner()
        self._mover: Mover | None = None
        """Made with the first move: most queues have none."""
        self._polls: deque[tuple[int, Any]] = deque(maxlen=POLLS_KEPT)
        """Once there is a mover: of polls that brought records the first one's tag, and the member as it was before the poll."""
        self._membership = Membership(
            options,
            queue,
            groups=groups,
            before_revoke=self._finish,
            on_rebalance=on_rebalance,
        )

    @property
    def topic(self) -> str:
        """The queue's topic."""
        return self._membership.topic

    @property
    def member_id(self) -> str:
        """As the broker knows us; any thread may ask."""
        return self._membership.member_id

    @property
    def assigned(self) -> bool:
        """Whether an assignment has arrived since the join; any thread may ask."""
        return self._membership.assigned

    # -- fetching -----------------------------------------------------------------------------------------------------

    def fetch(self, limit: int, timeout: float) -> list[Record]:
        """Return what has arrived, at most `limit` records; waits up to `timeout` seconds for the first only.

        Serves rebalances and commits what was settled since. Returns nothing while paused or out of the group.

        Raises:
            TaskqKafkaError: Nothing will come until somebody acts (no rights).
        """
        self._owner.require()
        membership = self._membership
        if membership.replace_because:
            membership.replace()
        if (left := membership.reopen()) > 0:
            time.sleep(min(left, timeout))
            return []
        self.commit_settled()
        membership.watch_transactions()
        deadline = time.monotonic() + timeout
        rebalances = membership.rebalances
        while True:
            records = self._fetch_now(limit, max(0.0, deadline - time.monotonic()))
            # An end of partition is no record; a rebalance is news that the caller should hear of.
            is_news = membership.rebalances != rebalances or membership.replace_because
            if records or is_news or time.monotonic() >= deadline:
                return records

    def _fetch_now(self, limit: int, timeout: float) -> list[Record]:
        """Return the records of what arrived first, which may be none: events come the same way."""
        membership = self._membership
        rebalances = membership.rebalances
        member = None if self._mover is None else membership.consumer.consumer_group_metadata()
        # consume(n, timeout) would wait for all n: poll for the first, then take what is there.
        first = membership.consumer.poll(timeout)
        if first is None:
            membership.watch()
            return []
        membership.watchdog.heard()
        messages = [first]
        if limit > 1:
            messages += membership.consumer.consume(limit - 1, 0)
        if membership.rebalances != rebalances:
            messages = self._without_doubtful(messages, rebalances)
        accepted = (self._accept(message) for message in messages)
        records = [record for record in accepted if record is not None]
        if member is not None and records:
            self._polls.append((records[0].delivery_tag, member))
        return records

    def _without_doubtful(self, messages: list[Message], rebalances: int) -> list[Message]:
        """Leave out messages of partitions that were assigned inside the call that returned them, and read these again.

        Nothing on such a message tells whether it was fetched before or after the rebalance.
        """
        assignment = self._membership.assignment
        fresh = {owned.partition: owned for owned in assignment if owned.rebalance > rebalances}
        doubtful = {
            message.partition()
            for message in messages
            if message.error() is None and message.partition() in fresh
        }
        for partition in doubtful:
            if partition is not None:
                self._membership.seek(fresh[partition])
        return [message for message in messages if message.partition() not in doubtful]

    def _accept(self, message: Message) -> Record | None:
        """Enter a fetched message into the tracker; None if it is an event, void, settled or in flight already."""
        error = message.error()
        if error is not None:
            self._on_error(message, error)
            return None
        partition, offset = message.partition(), message.offset()
        if partition is None or offset is None:  # of a message without error never
            return None
        owned = self._membership.assignment.get(partition)
        if owned is None:
            return None
        owned.position = offset + 1
        if not owned.offsets.deliver(offset):
            return None
        timestamp_ms = message.timestamp()[1]
        if owned.unproven:
            self._prove(owned, timestamp_ms)
        expiry = owned.offsets.expiry
        mark = owned.offsets.mark(offset)
        return Record(
            self.queue,
            partition,
            offset,
            timestamp_ms,
            message.key(),
            message.value(),
            headers_of(message),
            next(self._tags),
            owned.epoch,
            mark is not None,
            expiry is not None and offset < expiry.offset and timestamp_ms < expiry.cutoff_ms,
            *(
                (mark.deliveries, mark.deaths, mark.is_suspect, mark.lived)
                if mark is not None
                else ()
            ),
        )

    def _on_error(self, message: Message, error: KafkaError) -> None:
        """Act on what stands in a message's place: the end of a partition, an offset outside the log, trouble."""
        code, partition = error.code(), message.partition()
        owned = None if partition is None else self._membership.assignment.get(partition)
        if code == KafkaError._PARTITION_EOF:
            if owned is not None:
                self._reach_end(owned, message.offset())
        elif code == KafkaError._AUTO_OFFSET_RESET:
            if owned is not None:
                self._find_place(owned)
        elif error.fatal():
            self._membership.refuse_protocol(error)
        elif code in _PASSING_ERRORS:
            logger.warning(
                "queue %s: %s; the consumer goes on by itself",
                self.queue,
                error.str(),
                extra={"event": "consumer.error", "queue": self.queue, "error": error.name()},
            )
        else:
            raise map_error(error, address=self._options.bootstrap, topic=self.topic)

    def _reach_end(self, owned: Owned, offset: int | None) -> None:
        """Take note of an end of partition: behind it transaction markers would show as lag for ever."""
        owned.unproven = False
        if offset is not None:
            owned.position = max(owned.position, offset)
            owned.dirty |= owned.offsets.reach(offset)

    def _prove(self, owned: Owned, first_timestamp_ms: int) -> None:
        """Decide by its first record whether a partition without committed offset is new, or its offsets expired.

        A broker forgets the offsets of a group that was empty for `offsets.retention.minutes`. What that group had claimed is
        older than this; so younger records are certainly unclaimed, and older ones may have been run.
        """
        owned.unproven = False
        now_ms = int(time.time() * 1000)
        if first_timestamp_ms < 0 or first_timestamp_ms >= now_ms - OFFSETS_RETENTION_LEAST_MS:
            return
        cutoff_ms = now_ms - offsets_retention_ms(self._options)
        if first_timestamp_ms >= cutoff_ms:
            return
        _, end = self._membership.watermarks(owned.partition)
        owned.offsets.expiry = Expiry(end, cutoff_ms)
        logger.warning(
            "queue %s partition %d: the group has no committed offset, and records before offset %d are older than the broker "
            "keeps offsets; whether they ran is unknown, they go to the dead letters as offset_expired",
            self.queue,
            owned.partition,
            end,
            extra={"event": "consumer.offsets_expired", "queue": self.queue},
        )

    def _find_place(self, owned: Owned) -> None:
        """Go on where the log has something, after an offset outside of it."""
        low, high = self._membership.watermarks(owned.partition)
        position = owned.offsets.position
        if low <= position <= high:
            # Whoever asked was a moment ahead of the broker, or the log has grown past the offset since. What lies between its
            # former end and the offset cannot be told from what was claimed before it was lost.
            logger.warning(
                "queue %s partition %d: offset %d was outside the log for a moment, which has %d to %d now; going on there",
                self.queue,
                owned.partition,
                position,
                low,
                high,
                extra={"event": "consumer.place_found", "queue": self.queue},
            )
            self._membership.seek(owned, position)
            return
        if position < low:
            logger.warning(
                "queue %s partition %d: records %d to %d were deleted before they were claimed (retention, or a purge)",
                self.queue,
                owned.partition,
                position,
                low - 1,
                extra={"event": "consumer.records_deleted", "queue": self.queue},
            )
            owned.dirty |= owned.offsets.reach(low)
            self._membership.seek(owned, low)
            return
        logger.error(
            "queue %s partition %d: the group has claimed up to offset %d, but the log ends at %d: the broker has lost records "
            "(an unclean leader election?); going on at its end, nothing is run again",
            self.queue,
            owned.partition,
            position,
            high,
            extra={"event": "consumer.log_truncated", "queue": self.queue},
        )
        fresh = self._membership.assignment.assign(owned.partition, State(high))
        fresh.dirty = True
        self._membership.seek(fresh, high)

    # -- claiming and settling ----------------------------------------------------------------------------------------

    def holds(self, record: Record) -> bool:
        """Return whether a fetched record is still ours to claim; any thread may ask."""
        return self._membership.assignment.holds(record.partition, record.epoch)

    def claim(
        self,
        records: Sequence[Record],
        *,
        start: Collection[Record] = (),
        alone: Collection[Record] = (),
        give_up: Callable[[], bool] = never,
    ) -> tuple[list[Record], list[Record]]:
        """Commit exactly these records, with one synchronous commit, and return `(granted, refused)`.

        Only granted ones may run. Refused ones were given back: they will be fetched again, here or by another member. Blocks
        until the broker has answered, through an outage too.

        Args:
            records: Fetched and unsettled.
            start: Those of them that are settled after their run: they are marked as at work instead, and come again if this
                process dies.
            alone: Those of these beside which nothing is at work in their process.
            give_up: Asked while there is no answer.

        Raises:
            ClaimGivenUp: `give_up()` was true while there was no answer.
        """
        self._owner.require()
        starting = {record.delivery_tag for record in start}
        lonely = {record.delivery_tag for record in alone}
        batches: dict[int, Batch] = {}
        refused: list[Record] = []
        for record in records:
            if not self.holds(record):
                refused.append(record)
                continue
            batch = batches.get(record.partition)
            if batch is None:
                batch = batches[record.partition] = Batch()
            batch.records.append(record)
            if record.delivery_tag not in starting:
                batch.settling.add(record.offset)
                continue
            batch.starting.add(record.offset)
            if record.delivery_tag in lonely:
                batch.alone.add(record.offset)
        if not batches:
            return [], refused
        tags = [record.delivery_tag for record in records]
        accepted = self._commit(self._plan(batches), give_up, tags)
        granted: list[Record] = []
        for partition, batch in batches.items():
            owned = self._membership.assignment.get(partition)
            refused += batch.left_out
            self.give_back(batch.left_out)
            if partition in accepted and owned is not None:
                owned.offsets.settle(batch.settling)
                owned.offsets.start(batch.starting, batch.alone)
                granted += batch.records
            else:
                refused += batch.records
                self.give_back(batch.records)
        return granted, refused

    def move(
        self,
        records: Sequence[Record],
        writes: Sequence[LogWrite],
        *,
        give_up: Callable[[], bool] = never,
    ) -> tuple[list[Record], list[Record]]:
        """Write something in the place of each record and settle it, all in one transaction; return `(granted, refused)`.

        Of a refused record nothing was written. It was given back, as by `claim`. The first move of a consumer is refused: the
        fence is the member as it was before the records were polled, and nobody asks for that before it is needed.

        Raises:
            ClaimGivenUp: `give_up()` was true while there was no answer. The records' partitions are no longer held.
            TaskqKafkaError: Nothing was moved; the records are still held.
        """
        self._owner.require()
        if self._mover is None:
            self._mover = Mover(self._options)
        first_tag = self._polls[0][0] if self._polls else math.inf
        batches: dict[int, Batch] = {}
        for record in records:
            if record.delivery_tag >= first_tag and self.holds(record):
                batch = batches.setdefault(record.partition, Batch())
                batch.records.append(record)
                batch.settling.add(record.offset)
        plan = self._plan(batches)
        states = {number: plan[number] for number in batches if number in plan}
        # Without what was left out, because it does not fit a commit.
        fitting = {each.delivery_tag for number in states for each in batches[number].records}
        pairs = [
            (record, write)
            for record, write in zip(records, writes, strict=True)
            if record.delivery_tag in fitting
        ]
        granted: list[Record] = []
        if pairs:
            granted = self._moved(pairs, states, give_up)
        moved = {record.delivery_tag for record in granted}
        refused = [record for record in records if record.delivery_tag not in moved]
        self.give_back(refused)
        return granted, refused

    def _moved(
        self,
        pairs: Sequence[tuple[Record, LogWrite]],
        states: dict[int, State],
        give_up: Callable[[], bool],
    ) -> list[Record]:
        """Move records; return those that were moved: all or none."""
        assert self._mover is not None
        records = [record for record, _ in pairs]
        oldest = min(record.delivery_tag for record in records)
        member = next(member for tag, member in reversed(self._polls) if tag <= oldest)
        request = MoveRequest(
            [write for _, write in pairs],
            self._membership.topic,
            states,
            member,
            give_up,
            [record.delivery_tag for record in records],
        )
        try:
            ending = self._mover.move(request)
        except ClaimGivenUp:
            self._membership.assignment.remove(states)
            raise
        if ending is Ending.REFUSED:
            return []
        if ending is Ending.UNKNOWN:
            # Void from here on, and no commit of ours may come after the transaction's: see moves.py.
            self._membership.assignment.remove(states)
            self._membership.replace_because = "how a move ended is not known"
            return []
        for record in records:
            owned = self._owned(record)
            if owned is not None:
                owned.offsets.settle((record.offset,))
                # The next commit says the same once more: librdkafka's mock cluster forgets the offsets of transactions.
                owned.dirty = True
                if owned.trouble:
                    self._membership.recover(owned)
        return records

    def settle(self, records: Iterable[Record]) -> None:
        """Conclude records; committed with the next fetch, claim or close. What a rebalance has voided is passed over."""
        self._owner.require()
        settled: dict[int, list[int]] = {}
        for record in records:
            if self.holds(record):
                settled.setdefault(record.partition, []).append(record.offset)
        for partition, offsets in settled.items():
            owned = self._membership.assignment.get(partition)
            assert owned is not None, "it is held"
            owned.offsets.settle(offsets)
            owned.dirty = True

    def give_back(self, records: Iterable[Record], *, died: bool = False) -> None:
        """Return unsettled records: they will be fetched again, by this member or another.

        Args:
            records: In flight here.
            died: Whether the process that was at work on them died, and was at work on nothing else.
        """
        self._owner.require()
        touched: dict[int, Owned] = {}
        for record in records:
            owned = self._owned(record)
            if owned is not None:
                owned.dirty |= owned.offsets.mark(record.offset) is not None
                owned.offsets.give_back((record.offset,), died=died)
                touched[owned.partition] = owned
        for owned in touched.values():
            self._membership.seek(owned)

    def keep_company(self, records: Iterable[Record]) -> None:
        """Take note that records that were alone at work are not any more; committed as what is settled."""
        self._owner.require()
        for record in records:
            owned = self._owned(record)
            if owned is not None:
                owned.offsets.keep_company((record.offset,))
                owned.dirty = True

    def _finish(self, partitions: Collection[int]) -> None:
        """Commit what is settled before partitions are given up in order; what is still at work there is nobody's death."""
        self._tell_before_revoke(partitions)
        for partition in partitions:
            owned = self._membership.assignment.get(partition)
            if owned is not None:
                owned.dirty |= owned.offsets.clear_started()
        self.commit_settled()

    def commit_settled(self) -> bool:
        """Commit what was settled since the last commit; does nothing if nothing was. Return False if there was no answer.

        What gets no answer, or is refused, stays for the next time, unless a poll voids it. Also tries again what had failed, when
        it is time to.
        """
        if any(
            owned.dirty or owned.blocked or owned.trouble for owned in self._membership.assignment
        ):
            self._try_again()
            try:
                self._commit(self._plan({}), _at_once)
            except ClaimGivenUp:
                return False
        return True

    def _try_again(self) -> None:
        """Fetch again from partitions whose commits had failed for a claim: the next one shows whether they are taken now.

        Also from those that are full and whose lowest unfinished record nobody has: it has to be done.
        """
        now = time.monotonic()
        for owned in self._membership.assignment:
            if owned.trouble and owned.blocked and not owned.dirty:
                goes_on = not owned.is_resting(now)
            else:
                goes_on = owned.is_full and owned.offsets.is_lowest_waiting
            if goes_on:
                self._membership.unblock(owned)

    def _owned(self, record: Record) -> Owned | None:
        owned = self._membership.assignment.get(record.partition)
        return owned if owned is not None and owned.epoch == record.epoch else None

    def _plan(self, batches: Mapping[int, Batch]) -> dict[int, State]:
        """Return what to commit for each partition of a claim, and for those that have settled records besides."""
        states: dict[int, State] = {}
        stamp = next(self._stamps)
        now = time.monotonic()
        for owned in self._membership.assignment:
            batch = batches.get(owned.partition)
            if (batch is None and not owned.dirty) or owned.is_resting(now):
                continue
            state = self._fitting(owned, batch or Batch(), stamp)
            if state is not None:
                states[owned.partition] = state
        return states

    def _fitting(self, owned: Owned, batch: Batch, stamp: str) -> State | None:
        """Return the state after a batch; without what does not fit a commit, which the batch leaves out then; None for nothing."""
        offsets = owned.offsets
        state = offsets.state(
            batch.settling, starting=batch.starting, alone=batch.alone, stamp=stamp
        )
        size = len(state.metadata())
        if size <= METADATA_LIMIT:
            if owned.is_full and size < GO_ON_BELOW and owned.trouble is None:
                self._membership.unblock(owned)
            return state
        if not batch.records:
            return None  # committed when there is less of it
        if not owned.blocked:
            self._membership.block(owned, state.offset)
        # The lowest unfinished one of all has to be done, so that there is room again.
        if not batch.keep_only(offsets.lowest):
            batch.keep_only(None)
        return self._fitting(owned, batch, stamp) if batch.records or owned.dirty else None

    def _commit(
        self, states: dict[int, State], give_up: Callable[[], bool], tags: Iterable[int] = ()
    ) -> set[int]:
        """Commit states; return the partitions for which the broker said yes. Does not poll."""
        membership = self._membership
        request = CommitRequest(
            membership.consumer, membership.topic, states, give_up, membership.stored, tags
        )
        answer = commit(request) if states else Answer()
        # What is refused stays to be committed: the next poll says that it is void, or it was refused in a rebalance that leaves
        # us the partition.
        for partition in answer.accepted:
            owned = membership.assignment.get(partition)
            if owned is not None:
                owned.dirty = False
                if owned.trouble:
                    membership.recover(owned)
        for partition, why in answer.failed.items():
            owned = membership.assignment.get(partition)
            if owned is not None:
                membership.block_for_a_while(owned, why)
        return answer.accepted

    # -- flow ---------------------------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Fetch nothing more."""
        self._owner.require()
        self._membership.pause()

    def resume(self) -> None:
        """Fetch again, at once."""
        self._owner.require()
        self._membership.resume()

    def leave(self) -> None:
        """Leave the group: other members take over; unclaimed records are void. `rejoin` undoes it."""
        self._owner.require()
        self._membership.leave()

    def rejoin(self) -> None:
        """Join the group again after `leave`."""
        self._owner.require()
        self._membership.rejoin()

    def status(self) -> ConsumerStatus:
        """Return the place in the group. Asks the broker only for the lag while paused, at most every second."""
        self._owner.require()
        membership = self._membership
        return ConsumerStatus(
            partitions=membership.assignment.partitions,
            member=membership.joined,
            assigned=membership.assigned,
            lag=membership.lag(),
            group=membership.group,
            protocol=membership.protocol,
            blocked={
                owned.partition: owned.offsets.lowest or 0
                for owned in membership.assignment
                if owned.is_full
            },
        )

    def close(self) -> None:
        """Commit what is settled and leave the group. Blocks a few milliseconds; longer while the broker is away."""
        if self._owner.is_here():
            for owned in self._membership.assignment:
                owned.dirty |= owned.offsets.clear_started()
            self.commit_settled()
            self._membership.close()
