"""The clock of a cluster in memory: the system's, and as much ahead of it as it was moved."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta

from taskq.clock import Clock, SystemClock

LOOK_EVERY = 0.01
"""Seconds between two looks of a wait: an Event cannot be told that the clock was moved."""


class MovableClock:
    """A `taskq.clock.Clock` that goes on by itself and can be moved forward. Any thread may call it."""

    def __init__(self, base: Clock | None = None) -> None:
        """Begin at what `base` shows; by default the system's clock."""
        self._base = base or SystemClock()
        self._ahead = 0.0

    def advance(self, seconds: float) -> None:
        """Move the clock forward; waits that are over then end within a hundredth of a second.

        Raises:
            ValueError: `seconds` is negative: monotonic time never goes back.
        """
        if seconds < 0:
            raise ValueError(f"a clock is moved forward only, not by {seconds:g} s")
        self._ahead += seconds

    def now(self) -> datetime:
        """Return the present instant, aware, in UTC."""
        return self._base.now() + timedelta(seconds=self._ahead)

    def time(self) -> float:
        """Return seconds since 1970."""
        return self._base.time() + self._ahead

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start."""
        return self._base.monotonic() + self._ahead

    def wait(self, event: threading.Event, timeout: float | None) -> bool:
        """Block until the event is set or the clock has gone on by `timeout` seconds; None waits for ever."""
        if timeout is None:
            return self._base.wait(event, None)
        end = self.monotonic() + timeout
        while not event.is_set() and (remaining := end - self.monotonic()) > 0:
            self._base.wait(event, min(remaining, LOOK_EVERY))
        return event.is_set()
