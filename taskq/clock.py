"""Time: the only file that asks the system for it.

Code that needs time takes a `Clock`. Tests give it one that they move by hand.
"""

from __future__ import annotations

import threading
import time
from datetime import datetime, timezone
from typing import Protocol


class Clock(Protocol):
    """Where time comes from. Any thread may call it."""

    def now(self) -> datetime:
        """Return the present instant, aware, in UTC."""

    def time(self) -> float:
        """Return the present instant in seconds since 1970; it jumps when the system's clock is set."""

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start; never goes back."""

    def wait(self, event: threading.Event, timeout: float | None) -> bool:
        """Block until the event is set or `timeout` seconds are over; None waits for ever.

        Returns:
            Whether the event is set.
        """


class SystemClock:
    """The system's clock."""

    def now(self) -> datetime:
        """Return the present instant, aware, in UTC."""
        return datetime.now(timezone.utc)

    def time(self) -> float:
        """Return seconds since 1970."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start."""
        return time.monotonic()

    def wait(self, event: threading.Event, timeout: float | None) -> bool:
        """Block until the event is set or `timeout` seconds are over."""
        # Beyond TIMEOUT_MAX (about 292 years) Event.wait raises OverflowError.
        if timeout is not None:
            timeout = min(max(timeout, 0.0), threading.TIMEOUT_MAX)
        return event.wait(timeout)


def unix_ms(clock: Clock) -> int:
    """Return the whole milliseconds since 1970, as records carry them: rounded down, so that what is due by them is not early."""
    return int(clock.time() * 1000)


unix_ns = time.time_ns
"""Return nanoseconds since 1970, for ids made by time: a plain function, because it is called for every task sent."""
