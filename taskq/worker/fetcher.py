"""Fetches from one channel, and looks each time at what has become of its place in the group.

A rebalance voids what is in hand and at work of the partitions that went; whether it did is asked of the channel. Pausing is here,
too: who takes no records polls all the same, else the group takes the worker for dead.
"""

from __future__ import annotations

from collections.abc import Sequence

from taskq.clock import Clock
from taskq.protocols import IntakeChannel, IntakeStatus, Rebalance, Record
from taskq.worker.blocked import BlockedPartitions
from taskq.worker.crowding import Crowding
from taskq.worker.hand import Hand
from taskq.worker.keyed import KeyedWork
from taskq.worker.line import Line
from taskq.worker.partitions import Partitions
from taskq.worker.progress import Progress
from taskq.worker.settling import Settling


class Fetcher:
    """Of one channel; its intake's thread calls it, and any thread may read its `status`."""

    def __init__(
        self,
        channel: IntakeChannel,
        hand: Hand,
        line: Line,
        settling: Settling,
        keyed: KeyedWork,
        partitions: Partitions,
        blocked: BlockedPartitions,
        rebalances: list[Rebalance],
        crowding: Crowding,
        *,
        progress: Progress,
        clock: Clock,
    ) -> None:
        """Prepare.

        Args:
            channel: What is fetched from.
            hand: Loses what a rebalance took.
            line: Left when the hand is empty.
            settling: Loses what a rebalance took, and is asked to settle while the channel is paused.
            keyed: Told of rebalances.
            partitions: Says what the worker has.
            blocked: Says what stands still.
            rebalances: Where the channel's callback puts them. It outlives the channel: what its close tells is looked at, too.
            crowding: Told of rebalances.
            progress: Told that the thread came by.
            clock: For the age of what is known.
        """
        self._channel = channel
        self._hand = hand
        self._line = line
        self._settling = settling
        self._keyed = keyed
        self._partitions = partitions
        self._blocked = blocked
        self._rebalances = rebalances
        self._crowding = crowding
        self._progress = progress
        self._clock = clock
        self._is_doubtful = False
        self.is_paused = False
        self.status = IntakeStatus()
        """The channel's place in the group, as of the last fetch."""

    def fetch(self, limit: int, timeout: float) -> Sequence[Record]:
        """Fetch at most `limit` records, and wait at most `timeout` seconds for the first."""
        if self.is_paused:
            self._channel.resume()
            self.is_paused = False
        return self._poll(limit, timeout)

    def pause(self) -> None:
        """Take no records until the next `fetch`."""
        if not self.is_paused:
            self._channel.pause()
            self.is_paused = True

    def poll(self) -> None:
        """Tell the group that the worker lives. The channel must be paused."""
        self._poll(1, 0)

    def keep_membership(self) -> None:
        """Poll without taking records, while the queue stands still."""
        self.pause()
        self._settling.settle_due()
        self.poll()

    def doubt(self) -> None:
        """Have the next fetch ask which records in hand are ours still."""
        self._is_doubtful = True

    def leave(self) -> None:
        """Leave the group; what is in hand comes again."""
        self._channel.leave()
        self.is_paused = False
        self._crowding.forget()
        self._hand.drop()
        self._line.step_back()
        self._partitions.begin_anew()

    def _poll(self, limit: int, timeout: float) -> Sequence[Record]:
        self._progress.move()
        records = self._channel.fetch(limit, timeout)
        status = self.status = self._channel.status()
        if self._rebalances:
            self._look_at_rebalances(status)
        self._partitions.look(status.partitions, self._clock.monotonic())
        if self._is_doubtful:
            self._is_doubtful = False
            self._keep_ours()
        self._blocked.look(status.blocked, self._settling.late.find)
        return records

    def _look_at_rebalances(self, status: IntakeStatus) -> None:
        self._keyed.look_at(self._rebalances)
        self._crowding.look_at(self._rebalances, owned=len(status.partitions))
        self._partitions.say_own(status.partitions, self._rebalances)
        self._rebalances.clear()
        self._is_doubtful = True

    def _keep_ours(self) -> None:
        """Void what is not ours any more. Who has nothing in hand leaves the line: the slot that is kept for him is others'."""
        in_hand = [each.record.delivery_tag for each in self._hand.deliveries]
        held = self._channel.held([*in_hand, *self._settling.late.tags()])
        self._hand.keep(held)
        if not self._hand:
            self._line.step_back()
        self._settling.keep(held)
