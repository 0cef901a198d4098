"""Settles on one channel what was reported to its late acks (lateacks.py): ends become commits, deaths are delivered again."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

from taskq.clock import Clock
from taskq.protocols import IntakeChannel
from taskq.worker.delivery import Delivery
from taskq.worker.keyorder import KeyOrder
from taskq.worker.lateacks import LateAcks

logger = logging.getLogger(__name__)


class Settling:
    """Of one channel: what still comes to its late acks afterwards names deliveries of a channel that is gone.

    Its intake's thread calls it; `late` is told by any thread.
    """

    def __init__(self, channel: IntakeChannel, order: KeyOrder, clock: Clock) -> None:
        """Begin with nothing at work.

        Args:
            channel: Where ends are settled.
            order: The intake's, which may hold what is at work for its next run.
            clock: For the age of acks.
        """
        self._channel = channel
        self._order = order
        self.late = LateAcks(clock.monotonic)

    def has_work(self) -> bool:
        """Return whether the channel has to stay in its group for what is at work: it settles afterwards, or its key is busy."""
        return not (self.late.is_empty() and self._order.is_empty)

    def settle_due(self) -> None:
        """Have ends committed that wait for a claim no longer, and have delivered again what processes died with."""
        if not self.late.is_due:
            return
        self.settle_acked()
        self.release_died()
        self._channel.commit()

    def settle_acked(self) -> None:
        """Settle what has ended; committed by the channel's next commit."""
        if acked := self.late.take_acked():
            self._channel.settle(acked)

    def release_died(self) -> None:
        """Give back what processes died with; committed by the channel's next commit."""
        if died := self.late.take_died():
            self._channel.release(died, died=True)
            self._order.given_back(died)

    def give_back(self, late: Sequence[Delivery]) -> None:
        """Give back what is at work and waits for its next run, because the worker stops."""
        self._void(self.late.forget_unless(self.late.tags_but(late)), "its worker stops")
        self._channel.release([delivery.record.delivery_tag for delivery in late])

    def keep(self, held: Collection[int]) -> None:
        """Void what a rebalance has taken.

        Args:
            held: The delivery tags that it has left.
        """
        self._void(self.late.forget_unless(held), "its partition has gone")

    def end(self) -> None:
        """Void all that is at work: the channel is closed."""
        self._void(self.late.forget_unless(()), "its worker lets go of it")

    def _void(self, deliveries: Sequence[Delivery], why: str) -> None:
        """Take note that deliveries are not ours any more, and say so; what of them is held is not run here."""
        if not self._order.is_empty:
            gone = set(deliveries)
            self._order.take_held(lambda held: held.delivery in gone)
        for delivery in deliveries:
            logger.warning(
                "%s is not finished, and %s: it runs again",
                delivery,
                why,
                extra={"event": "task.void", **delivery.fields},
            )
