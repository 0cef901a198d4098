"""What an intake does about slots that are all busy: wait for one, pause, leave the group to others, come back.

When it does which is decided in fullness.py.
"""

from __future__ import annotations

import logging

from taskq.clock import Clock
from taskq.protocols import IntakeChannel
from taskq.worker.dispatcher import Dispatcher
from taskq.worker.fetcher import Fetcher
from taskq.worker.fullness import Fullness
from taskq.worker.hand import Hand
from taskq.worker.lateacks import LATE_SECONDS
from taskq.worker.outbox import Outbox
from taskq.worker.progress import Progress
from taskq.worker.settling import Settling

logger = logging.getLogger(__name__)

ROOM_SECONDS = 0.25
"""Longest wait for a slot before the heartbeat and the stop are looked at."""


class Room:
    """Of one channel; its intake's thread calls it, and any thread may read `has_left`."""

    def __init__(
        self,
        queue: str,
        channel: IntakeChannel,
        fetcher: Fetcher,
        hand: Hand,
        settling: Settling,
        *,
        dispatcher: Dispatcher,
        outbox: Outbox,
        progress: Progress,
        clock: Clock,
    ) -> None:
        """Begin in the group.

        Args:
            queue: The intake's.
            channel: Its own.
            fetcher: Polls and leaves.
            hand: What waits.
            settling: What is at work needs the group.
            dispatcher: Has the slots.
            outbox: While it is full no slot counts as free.
            progress: Told of the question to the broker.
            clock: For how long nothing was free.
        """
        self._queue = queue
        self._channel = channel
        self._fetcher = fetcher
        self._hand = hand
        self._settling = settling
        self._dispatcher = dispatcher
        self._outbox = outbox
        self._progress = progress
        self._clock = clock
        self._fullness = Fullness()
        self.has_left = False
        """Whether the group is left to the other workers until a slot is free."""

    def found(self) -> None:
        """Note that a record in hand got a slot."""
        self._fullness.found_slot()

    def wait(self, version: int) -> None:
        """Wait until a slot may be free, or it is time to look at something else; pauses, and leaves the group, in its time.

        Args:
            version: The dispatcher's, before it was seen that none is free.
        """
        now = self._clock.monotonic()
        self._fullness.found_no_slot(now)
        if self._fullness.should_pause(now):
            self._fetcher.pause()
        if self._fetcher.is_paused:
            self._fetcher.poll()
        if self._should_leave(now):
            self._leave()
            return
        seconds = ROOM_SECONDS if self._settling.late.is_empty() else LATE_SECONDS
        self._dispatcher.wait_for_change(version, seconds)

    def wait_outside(self) -> None:
        """Come back to the group if a slot is free; else wait for one, at most a while."""
        version = self._dispatcher.version
        if not self._dispatcher.free or self._outbox.is_full:
            self._dispatcher.wait_for_change(version, ROOM_SECONDS)
            return
        self._channel.rejoin()
        self.has_left = False
        logger.info(
            "a slot is free: back to queue %s",
            self._queue,
            extra={"event": "intake.rejoined", "queue": self._queue},
        )

    def _should_leave(self, now: float) -> bool:
        if self._settling.has_work():
            return False  # its end settles nothing once the partition is another's, or others of its key pass it
        is_waiting = bool(self._hand) or self._fetcher.status.lag > 0
        full_for = self._dispatcher.full_for()
        if not self._fullness.should_ask(now, full_for=full_for, is_waiting=is_waiting):
            return False
        with self._progress.waiting_for("the number of workers"):
            return self._channel.other_members() > 0

    def _leave(self) -> None:
        logger.info(
            "all slots are busy: queue %s is left to the other workers until one is free",
            self._queue,
            extra={"event": "intake.left", "queue": self._queue},
        )
        self._fetcher.leave()
        self.has_left = True
        self._fullness = Fullness()
