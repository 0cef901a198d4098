"""What one intake has started of tasks that settle after their run, and what became of them.

Ends are reported by any thread: a pool's, or the outbox's when what must be written before has been. The intake's own thread takes
them and has them committed, together with its next claim or soon. Nothing here calls the broker.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Sequence

from taskq.worker.delivery import Delivery

COMMIT_AFTER = 0.1
"""Seconds that an ack waits at most for a claim to go with: so much more may run twice if the worker is killed."""

LATE_SECONDS = 0.1
"""Longest wait of an intake for anything while late acks may come."""


class LateAcks:
    """Of one intake. Its thread begins and takes, any thread reports."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """Begin with nothing at work.

        Args:
            monotonic: The clock's, for the age of acks.
        """
        self._monotonic = monotonic
        self._change = threading.Condition()
        self._at_work: dict[int, Delivery] = {}
        self._acked: list[int] = []
        self._died: list[int] = []
        self._waiting_since = 0.0

    # For the intake's thread

    def begin(self, deliveries: Iterable[Delivery]) -> None:
        """Enter what is claimed and about to be handed out."""
        with self._change:
            for delivery in deliveries:
                delivery.acks = self
                self._at_work[delivery.record.delivery_tag] = delivery

    def is_empty(self) -> bool:
        """Whether nothing is at work, and all that has ended was taken."""
        return not self._at_work and not self._acked and not self._died

    @property
    def is_due(self) -> bool:
        """Whether an end has waited for a claim long enough, or may not wait for one."""
        if self._died:
            return True
        return bool(self._acked) and self._monotonic() - self._waiting_since >= COMMIT_AFTER

    def tags(self) -> list[int]:
        """Return the delivery tags of what is at work."""
        with self._change:
            return list(self._at_work)

    def tags_but(self, deliveries: Collection[Delivery]) -> list[int]:
        """Return the delivery tags of what is at work, without some."""
        gone = {delivery.record.delivery_tag for delivery in deliveries}
        with self._change:
            return [tag for tag in self._at_work if tag not in gone]

    def find(self, partition: int, offset: int) -> Delivery | None:
        """Return what is at work at a place."""
        with self._change:
            return next(
                (
                    delivery
                    for delivery in self._at_work.values()
                    if (delivery.record.partition, delivery.record.offset) == (partition, offset)
                ),
                None,
            )

    def take_acked(self) -> Sequence[int]:
        """Return the delivery tags of what is to be settled, each once."""
        if not self._acked:
            return ()
        with self._change:
            acked, self._acked = self._acked, []
            return acked

    def take_died(self) -> Sequence[int]:
        """Return the delivery tags of what is to run again because a process died with it, each once."""
        if not self._died:
            return ()
        with self._change:
            died, self._died = self._died, []
            return died

    def forget_unless(self, held: Collection[int]) -> list[Delivery]:
        """Void what a rebalance has taken: its end settles nothing. Returns what was at work of it."""
        with self._change:
            gone = [each for tag, each in self._at_work.items() if tag not in held]
            for delivery in gone:
                delivery.is_void = True
                del self._at_work[delivery.record.delivery_tag]
            return gone

    def wait_ended(
        self,
        partitions: Collection[int],
        timeout: float,
        *,
        unless: Callable[[], bool],
        but: Callable[[Delivery], bool] = lambda delivery: False,
    ) -> None:
        """Wait until nothing of some partitions is at work, at most `timeout` seconds, and not if `unless` says so.

        Args:
            partitions: Theirs.
            timeout: Seconds.
            unless: Asked at each news.
            but: Says what is not waited for. Called within the lock.
        """

        def look() -> bool:
            return unless() or all(
                delivery.record.partition not in partitions or but(delivery)
                for delivery in self._at_work.values()
            )

        with self._change:
            self._change.wait_for(look, timeout)

    def wait_for_news(self, timeout: float) -> None:
        """Wait until something is reported, at most `timeout` seconds."""
        with self._change:
            self._change.wait_for(lambda: self._acked or self._died, timeout)

    # For any thread

    def ack(self, deliveries: Iterable[Delivery]) -> None:
        """Report what has ended, and all that follows from it is acknowledged by the broker. What is void is passed over."""
        with self._change:
            if not self._acked:
                self._waiting_since = self._monotonic()
            self._acked += self._ended(deliveries)
            self._change.notify_all()

    def died(self, delivery: Delivery) -> bool:
        """Report that a process died with a delivery, which is to run again; return False if it is void."""
        with self._change:
            ended = self._ended((delivery,))
            self._died += ended
            self._change.notify_all()
            return bool(ended)

    def go_on(self, delivery: Delivery, again: Delivery) -> bool:
        """Let another delivery be at work in the place of one that is to run again; return False if that is void."""
        tag = delivery.record.delivery_tag
        with self._change:
            if self._at_work.get(tag) is not delivery:
                return False
            self._at_work[tag] = again
            return True

    def wake(self) -> None:
        """Wake who waits, to look at something else."""
        with self._change:
            self._change.notify_all()

    def _ended(self, deliveries: Iterable[Delivery]) -> list[int]:
        """Take what has ended from what is at work; return its tags."""
        tags = [delivery.record.delivery_tag for delivery in deliveries]
        return [tag for tag in tags if self._at_work.pop(tag, None) is not None]
