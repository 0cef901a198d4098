"""What an intake does while its hand is full of tasks that wait for their rate or their key.

Where they wait for keys, partitions are stopped to make room for others (crowding.py). Else it waits with them, and says so once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from taskq.clock import Clock
from taskq.worker.crowding import Crowding
from taskq.worker.delivery import Delivery
from taskq.worker.dispatcher import Dispatcher
from taskq.worker.fetcher import Fetcher
from taskq.worker.fullness import PAUSE_AFTER
from taskq.worker.hand import Hand
from taskq.worker.keyed import KeyedWork
from taskq.worker.keyorder import KeyOrder
from taskq.worker.lateacks import LATE_SECONDS
from taskq.worker.room import ROOM_SECONDS
from taskq.worker.settling import Settling

logger = logging.getLogger(__name__)


class FullHand:
    """Of one channel; its intake's thread calls it."""

    def __init__(
        self,
        queue: str,
        hand: Hand,
        fetcher: Fetcher,
        settling: Settling,
        *,
        order: KeyOrder,
        keyed: KeyedWork,
        crowding: Crowding,
        dispatcher: Dispatcher,
        stopping: threading.Event,
        clock: Clock,
    ) -> None:
        """Prepare.

        Args:
            queue: The intake's.
            hand: Its hand.
            fetcher: Keeps the channel in its group.
            settling: Asked to settle meanwhile.
            order: Says which keys are busy.
            keyed: Says that the hand is full of them.
            crowding: Stops partitions, so that there is room for others.
            dispatcher: Tells of ends.
            stopping: Ends the wait.
            clock: For waits.
        """
        self._queue = queue
        self._hand = hand
        self._fetcher = fetcher
        self._settling = settling
        self._order = order
        self._keyed = keyed
        self._crowding = crowding
        self._dispatcher = dispatcher
        self._stopping = stopping
        self._clock = clock
        self._since: float | None = None
        self._has_told = False

    def found_empty(self) -> None:
        """Note that nothing waits: the next time it is said again."""
        self._has_told = False
        self._keyed.empty()

    def found_room(self) -> None:
        """Note that the hand is not full."""
        self._since = None

    def wait(self, version: int, longest: float) -> None:
        """Wait until something of the hand may start, or it is time to look again.

        Args:
            version: The dispatcher's, before it was seen that nothing may.
            longest: Seconds.
        """
        is_for_long = self._is_full_for_long()
        if self._hand.has_keys and self._crowding.relieve(is_for_long=is_for_long):
            self._since = None
            self._hand.is_full = False
            return
        if self._hand.has_keys and not is_for_long:
            # Keys are free again in a moment; a pause would throw away what is fetched meanwhile, for each hundred tasks.
            self._settling.settle_due()
            self._dispatcher.wait_for_change(version, min(LATE_SECONDS, longest))
            return
        self._say()
        self._fetcher.keep_membership()
        seconds = min(ROOM_SECONDS if self._settling.late.is_empty() else LATE_SECONDS, longest)
        if self._hand.has_keys:
            self._dispatcher.wait_for_change(version, seconds)
        else:
            self._clock.wait(self._stopping, seconds)

    def _is_full_for_long(self) -> bool:
        """Return whether the hand has been full for so long that the channel should be polled again."""
        now = self._clock.monotonic()
        if self._since is None:
            self._since = now
        return self._fetcher.is_paused or now - self._since >= PAUSE_AFTER

    def _say(self) -> None:
        """Say that the queue waits with its tasks: once, until none of them waits."""
        hand = self._hand.deliveries
        above: Sequence[Delivery] = hand
        if self._hand.has_keys:
            above = self._order.split(hand)
            if len(above) < len(hand):
                self._keyed.say_full(hand)
        if self._has_told or not above:
            return
        self._has_told = True
        logger.info(
            "queue %s waits with %d tasks that are above their rate_limit, such as %s; what stands behind them waits, too",
            self._queue,
            len(above),
            above[0].task,
            extra={"event": "intake.rate_limited", "queue": self._queue},
        )
