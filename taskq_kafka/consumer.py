"""One queue, one group member, one thread: fetch, claim, settle.

A `QueueConsumer` is used by exactly one thread, its owner, and never in a fork of its process (NotThisProcess): since
confluent-kafka 2.16 all calls of a Consumer share one lock, and a commit from a second thread would wait for the poller. Commits
are made in a thread of their own all the same, while the owner waits: so one that never returns can be left (lane.py). What may be
committed is decided in offsets.py and commitplan.py, what is ours in membership.py, what an answer to a commit means in
commits.py; what a poll brings is in arrivals.py.

Why a claim is safe. The broker checks who commits (member id and epoch), not which partition. So:

- a batch belongs to the assignment it was fetched in; the rebalance callbacks, which run inside `fetch`, void it;
- between collecting a batch and the definite answer to its commit this thread does not poll: a member that was frozen past its
  session is refused only until it polls and joins again, and then the same commit would rewind its heir;
- a commit without an answer is repeated as it is; a refused one means that nothing of it may run.

A crash between the broker's yes and the run loses the records of that claim, and only these.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from . import forks
from .arrivals import Arrivals
from .assignment import Owned
from .commitplan import batches_of
from .committing import Committing
from .giveup import never
from .groups import Groups
from .membership import Membership, RebalanceEvent
from .moves import LogWrite
from .options import TransportOptions
from .queuemoves import QueueMoves
from .records import Record


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

    refused: Sequence[int] = ()
    """Partitions of which no more is taken, because their commits are refused."""


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
        self._owner = forks.Owner()
        self._membership = Membership(
            options,
            queue,
            groups=groups,
            before_revoke=self._finish,
            on_rebalance=on_rebalance,
        )
        self._committing = Committing(self._membership)
        self._moves = QueueMoves(options, self._membership, self._committing)
        self._arrivals = Arrivals(options, queue, self._membership, self._moves, tags)

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
        self._committing.commit_settled()
        if membership.replace_because:  # its client was left behind, and must not be called
            return []
        membership.watch_transactions()
        deadline = time.monotonic() + timeout
        rebalances = membership.rebalances
        while True:
            records = self._arrivals.poll(limit, max(0.0, deadline - time.monotonic()))
            # An end of partition is no record; a rebalance is news that the caller should hear of.
            is_news = membership.rebalances != rebalances or membership.replace_because
            if records or is_news or time.monotonic() >= deadline:
                return records

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
        batches, refused = batches_of(
            records,
            self._membership.assignment,
            starting={record.delivery_tag for record in start},
            alone={record.delivery_tag for record in alone},
        )
        if not batches:
            return [], refused
        tags = [record.delivery_tag for record in records]
        committing = self._committing
        # What is granted although its client had to be left behind is still ours to run.
        places = {number: self._membership.assignment.get(number) for number in batches}
        accepted = committing.commit(committing.plan(batches), give_up, tags)
        granted: list[Record] = []
        for partition, batch in batches.items():
            owned = places[partition]
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
        granted = self._moves.move(records, writes, give_up)
        moved = {record.delivery_tag for record in granted}
        refused = [record for record in records if record.delivery_tag not in moved]
        self.give_back(refused)
        return granted, refused

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
            owned = self._membership.assignment.owned(record.partition, record.epoch)
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
            owned = self._membership.assignment.owned(record.partition, record.epoch)
            if owned is not None:
                owned.offsets.keep_company((record.offset,))
                owned.dirty = True

    def commit_settled(self) -> bool:
        """Commit what was settled since the last commit; does nothing if nothing was. Return False if there was no answer.

        What gets no answer, or is refused, stays for the next time, unless a poll voids it. Also tries again what had failed, when
        it is time to.
        """
        return self._committing.commit_settled()

    def _finish(self, partitions: Collection[int]) -> None:
        """Commit what is settled before partitions are given up in order; what is still at work there is nobody's death."""
        self._tell_before_revoke(partitions)
        self._committing.clear_started(partitions)
        self._committing.commit_settled()

    # -- flow ---------------------------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Fetch nothing more."""
        self._owner.require()
        self._membership.pause()

    def resume(self) -> None:
        """Fetch again, at once."""
        self._owner.require()
        self._membership.resume()

    def pass_over(self, partitions: Collection[int], reason: str) -> None:
        """Fetch nothing more from these of our partitions, and again from others that were passed over for this reason only."""
        self._owner.require()
        self._membership.pass_over(partitions, reason)

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
            refused=tuple(
                owned.partition
                for owned in membership.assignment
                if owned.blocked and owned.trouble is not None
            ),
        )

    def close(self) -> None:
        """Commit what is settled and leave the group. Blocks a few milliseconds; longer while the broker is away."""
        if self._owner.is_here():
            self._committing.clear_started(self._membership.assignment.partitions)
            self._committing.commit_settled()
            self._membership.close()
