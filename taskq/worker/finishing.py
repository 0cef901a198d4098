"""Waits for what is at work and needs its channel's group, before that is left: when partitions go, and when the worker stops.

What has not ended when the time is over is given back: it runs again elsewhere, and the order of keys may end.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Collection

from taskq.clock import Clock
from taskq.protocols import IntakeChannel
from taskq.worker.fetcher import Fetcher
from taskq.worker.heldruns import HeldRuns
from taskq.worker.keyorder import KeyOrder
from taskq.worker.lateacks import LATE_SECONDS
from taskq.worker.settling import Settling

_REVOKE_SECONDS = 2.0
"""How long partitions that are to be given up wait for what runs of them and settles late, or has a key. Heartbeats go on
meanwhile; what is not done by then runs again elsewhere, and the order of keys may end."""

_STOP_SECONDS = 5.0
"""At a stop: how soon a task that is held for its next run must be due to have it here. The partitions stand still meanwhile."""

_SHORTEST = 0.001
"""Seconds of a wait for a held task at least: what is due and finds no slot must not make the thread spin."""


class Finishing:
    """Of one channel; its intake's thread calls it, and any thread may read `is_under_way`."""

    def __init__(
        self,
        channel: IntakeChannel,
        fetcher: Fetcher,
        settling: Settling,
        held: HeldRuns,
        *,
        order: KeyOrder,
        letting_go: threading.Event,
        clock: Clock,
    ) -> None:
        """Prepare.

        Args:
            channel: Where what has ended is committed.
            fetcher: Keeps the channel in its group.
            settling: Settles what ends.
            held: Runs what is due meanwhile.
            order: Tells of ends of tasks with a key.
            letting_go: Ends all waits.
            clock: For waits.
        """
        self._channel = channel
        self._fetcher = fetcher
        self._settling = settling
        self._held = held
        self._order = order
        self._letting_go = letting_go
        self._clock = clock
        self.is_under_way = False
        """Whether the worker stops and what has ended is not committed yet, here or by the channel's close."""

    def before_revoke(self, partitions: Collection[int]) -> None:
        """Wait a little for what runs of partitions that are about to go, and settle it; the channel calls it."""
        until = self._clock.monotonic() + _REVOKE_SECONDS
        self._wait_for_keys(partitions, until)
        left = max(0.0, until - self._clock.monotonic())
        self._settling.late.wait_ended(
            partitions, left, unless=self._letting_go.is_set, but=self._order.is_held
        )
        self._settling.settle_acked()

    def at_stop(self) -> None:
        """Stay in the group until all is settled that is at work, or has to be given back; and until no key is busy."""
        settling = self._settling
        if not settling.has_work():
            return
        self.is_under_way = True
        self._fetcher.pause()
        until = self._clock.monotonic() + _STOP_SECONDS
        while settling.has_work() and not self._letting_go.is_set():
            self._fetcher.poll()
            self._held.let_go(until)
            self._held.run_due()
            settling.settle_due()
            self._wait_for_news()
        self._held.let_go(-math.inf)
        settling.settle_acked()
        settling.release_died()
        # Leaving the group may wait for members that do not answer: who waits for what has ended need not wait for that.
        self.is_under_way = not (settling.late.is_empty() and self._channel.commit())

    def _wait_for_news(self) -> None:
        if self._order.is_empty:
            self._settling.late.wait_for_news(LATE_SECONDS)
        else:
            self._order.wait_for_news(min(LATE_SECONDS, max(self._held.wait(), _SHORTEST)))

    def _wait_for_keys(self, partitions: Collection[int], until: float) -> None:
        """Wait until nothing of some partitions is at work that has a key, or waits for a run that is due by `until`."""
        clock, order = self._clock, self._order
        while order.is_at_work(partitions, until=until) and not self._letting_go.is_set():
            now = clock.monotonic()
            if now >= until:
                return
            self._held.run_due()
            order.wait_for_news(min(LATE_SECONDS, until - now, max(order.wait(now), _SHORTEST)))
