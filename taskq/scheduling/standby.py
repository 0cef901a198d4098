"""Since when this process has stood by without a break, by a clock that may be set while it runs."""

from __future__ import annotations

import logging
import threading
from datetime import datetime, timedelta, timezone

from taskq.clock import Clock
from taskq.scheduling.occurrences import TAKE_OVER

logger = logging.getLogger(__name__)

_CLOCK_SET = 1.0
"""Seconds between the system's clock and the monotonic one over one turn, from which on the clock was set."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MS = timedelta(milliseconds=1)


class StandBy:
    """The clock by which schedules are due. Any thread may call it; some thread looks at it every second or so.

    What came due while a process stood by was not missed, even if the broker was away. A process that was frozen, a machine that
    slept and a clock that was set forward are breaks.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seen = self._since = clock.now()
        self._steady = clock.monotonic()

    @property
    def since(self) -> datetime:
        """When the last break ended."""
        with self._lock:
            return self._since

    def now_ms(self) -> int:
        """Return the present instant in whole milliseconds since 1970, rounded down, after a look at the clock."""
        return (self.look() - _EPOCH) // _MS

    def look(self) -> datetime:
        """Find out whether the time did what it should since the last look, and say so if not; returns the present instant."""
        with self._lock:
            now, steady = self._clock.now(), self._clock.monotonic()
            passed = now - self._seen
            drift = passed.total_seconds() - (steady - self._steady)
            self._seen, self._steady = now, steady
            if passed > TAKE_OVER:
                self._since = now
            self._since = min(self._since, now)
        if abs(drift) >= _CLOCK_SET:
            _say_set(drift)
        if passed > TAKE_OVER:
            _say_still(passed)
        return now


def _say_set(drift: float) -> None:
    logger.warning(
        "the system's clock was set %s by %.1f s%s",
        "forward" if drift > 0 else "back",
        abs(drift),
        ""
        if drift > 0
        else "; what was sent is not sent again, so that schedules wait until their next time has come",
        extra={"event": "beat.clock_set", "seconds": drift},
    )


def _say_still(passed: timedelta) -> None:
    logger.warning(
        "no beat was at work here for %.0f s; what was missed is sent as each schedule's catch_up says",
        passed.total_seconds(),
        extra={"event": "beat.stood_still", "seconds": passed.total_seconds()},
    )
