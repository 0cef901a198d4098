"""Has suspects be alone at work, and lets others in beside them after a while. How long that is is in isolation.py."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from taskq.clock import Clock
from taskq.protocols import IntakeChannel
from taskq.worker.delivery import Delivery
from taskq.worker.dispatcher import Dispatcher
from taskq.worker.isolation import Isolation

logger = logging.getLogger(__name__)


class Suspects:
    """Of one channel; its intake's thread calls it. Nothing is done where each process runs one task at a time."""

    def __init__(self, channel: IntakeChannel, dispatcher: Dispatcher, clock: Clock) -> None:
        """Begin with none.

        Args:
            channel: Tells the group that a suspect is not alone any more.
            dispatcher: Has the slots.
            clock: For how long one waits, and is alone.
        """
        self._channel = channel
        self._dispatcher = dispatcher
        self._clock = clock
        self._is_shared = dispatcher.is_shared
        self._isolation = Isolation()

    def found_no_slot(self, head: Delivery) -> None:
        """Let a suspect go on in company that waits too long for its process to be empty."""
        if not head.is_suspect or not self._is_shared:
            return  # a process with one slot is alone with what it runs
        if self._isolation.is_awaited_long(head, self._clock.monotonic()):
            self._dispatcher.let_off(head)

    def begin(self, deliveries: Iterable[Delivery]) -> None:
        """Take note of what is about to be handed out; of that what is alone."""
        if self._is_shared:
            self._isolation.begin(deliveries, self._clock.monotonic())

    def let_others_in(self) -> None:
        """Let others in beside a suspect that has been alone long enough, once the group knows that it is not any more."""
        for delivery in self._isolation.ended(self._clock.monotonic()):
            if delivery.lane >= 0:  # it has not ended
                self._channel.keep_company([delivery.record.delivery_tag])
                self._dispatcher.let_off(delivery)


def say_suspect(delivery: Delivery) -> None:
    """Say that a suspect was fetched."""
    logger.warning(
        "%s was at work when its worker died or was cut off: it runs again, alone in its process (delivery %d, deaths alone %d)",
        delivery,
        delivery.record.deliveries + 1,
        delivery.record.deaths,
        extra={
            "event": "task.suspect",
            "deliveries": delivery.record.deliveries + 1,
            "deaths": delivery.record.deaths,
            **delivery.fields,
        },
    )
