"""Stops fetching from partitions whose keys have a backlog, while all others go on, and says so. Which is decided in crowds.py."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from taskq.clock import Clock
from taskq.protocols import IntakeChannel, Rebalance
from taskq.worker.crowds import Crowds
from taskq.worker.delivery import Delivery
from taskq.worker.hand import Hand, loads_of
from taskq.worker.keyed import key_text
from taskq.worker.keyorder import KeyOrder

logger = logging.getLogger(__name__)


class Crowding:
    """Of one channel; its intake's thread calls it."""

    def __init__(
        self, queue: str, channel: IntakeChannel, hand: Hand, order: KeyOrder, clock: Clock
    ) -> None:
        """Begin with all partitions fetched from.

        Args:
            queue: The intake's.
            channel: Told what to pass over.
            hand: Told whose tasks do not count; what is too much of them is given back.
            order: Says which keys are busy.
            clock: For how long a partition has gone on.
        """
        self._queue = queue
        self._channel = channel
        self._hand = hand
        self._order = order
        self._clock = clock
        self._crowds = Crowds()
        self._hand.set_aside = frozenset()

    def relieve(self, *, is_for_long: bool) -> bool:
        """Stop partitions, so that a full hand has room for others; return False if none is to be stopped.

        Args:
            is_for_long: Whether it has been full for so long that any partition may be stopped; else those with a known backlog.
        """
        if not (is_for_long or self._crowds):
            return False
        hand = self._hand.counted()
        free = set(self._order.split(hand))
        waiting = [
            each
            for each in hand
            if each.key is not None
            and each not in free
            and (is_for_long or each.record.partition in self._crowds)
        ]
        found = self._crowds.find(loads_of(hand), loads_of(waiting))
        if not found:
            return False
        for partition in found:
            if self._crowds.stop(partition):
                here = [each for each in waiting if each.record.partition == partition]
                self._say_stopped(partition, here)
        self._pass_over()
        self._trim(found)
        return True

    def look(self) -> None:
        """Let partitions go on of which little is left in hand."""
        if not self._crowds:
            return
        eased = self._crowds.look(loads_of(self._hand.deliveries), self._clock.monotonic())
        self._pass_over()
        for partition in eased:
            self._say_eased(partition)

    def look_at(self, events: Iterable[Rebalance], *, owned: int) -> None:
        """Take note of what a rebalance has changed: what came is fetched from.

        Args:
            events: What came and went.
            owned: How many partitions there are now.
        """
        self._crowds.owned = owned
        self._crowds.forget({number for event in events for number in event.partitions})
        self._hand.set_aside = self._crowds.stopped

    def forget(self) -> None:
        """Begin anew: the channel has left its group, or is about to be closed."""
        self._crowds = Crowds()
        self._hand.set_aside = frozenset()

    def _trim(self, new: Collection[int]) -> None:
        """Give back what is too much of stopped partitions: also of those that were before, as each may have less now.

        Args:
            new: Those that were not stopped before.
        """
        kept = self._crowds.kept
        rest = {number: self._hand.take_last(number, but=kept) for number in self._crowds.stopped}
        in_hand = loads_of(self._hand.deliveries)
        for partition, gone in rest.items():
            if gone or partition in new:
                self._crowds.keep(partition, in_hand[partition].count)
        if tags := [each.record.delivery_tag for gone in rest.values() for each in gone]:
            self._channel.release(tags)

    def _pass_over(self) -> None:
        stopped = self._crowds.stopped
        if stopped != self._hand.set_aside:
            self._hand.set_aside = stopped
            self._channel.pass_over(stopped, "keys")

    def _say_stopped(self, partition: int, waiting: Sequence[Delivery]) -> None:
        [(key, count)] = Counter(each.key for each in waiting).most_common(1)
        example = next(each for each in waiting if each.key == key)
        logger.warning(
            "queue %s: partition %d waits with %d tasks whose keys are busy, %d of them of the key %s, such as %s; other "
            "partitions go on",
            self._queue,
            partition,
            len(waiting),
            count,
            key_text(example),
            example.task,
            extra={
                "event": "intake.partition_crowded",
                "queue": self._queue,
                "partition": partition,
                "key": key_text(example),
                "task": example.task,
            },
        )

    def _say_eased(self, partition: int) -> None:
        logger.info(
            "queue %s: partition %d goes on: the backlog of its keys has gone",
            self._queue,
            partition,
            extra={
                "event": "intake.partition_eased",
                "queue": self._queue,
                "partition": partition,
            },
        )
