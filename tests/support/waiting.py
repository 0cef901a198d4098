"""Waiting for something that another process does, with a deadline.

The only place of the test support that knows the time. Where a thing can announce itself (an event, a line in a pipe), wait for
that instead: these functions are for what can only be looked at, such as a port, `/proc` or a file that grows.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

LOOK_EVERY = 0.02
"""Seconds between two looks: short against what is waited for, long against the cost of a look."""


class Deadline:
    """A moment after which nobody waits any longer. Any thread may ask it."""

    def __init__(self, seconds: float) -> None:
        """Set the deadline to `seconds` from now."""
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def remaining(self) -> float:
        """Seconds that are left, never below 0."""
        return max(0.0, self._end - time.monotonic())

    @property
    def is_over(self) -> bool:
        """Whether nothing is left."""
        return self.remaining <= 0.0


def wait_until(look: Callable[[], T], *, timeout: float, what: str) -> T:
    """Call `look` until it returns something true, and return that.

    Blocks the calling thread. `look` is called once more at the deadline, so a slow machine does not lose the last moment.

    Args:
        look: Called every 20 ms; must not block for long.
        timeout: Seconds.
        what: What is waited for, for the error: "waited 5 s for WHAT".

    Raises:
        TimeoutError: It stayed false for `timeout` seconds.
    """
    deadline = Deadline(timeout)
    pause = threading.Event()
    while True:
        last = deadline.is_over
        if found := look():
            return found
        if last:
            raise TimeoutError(f"waited {timeout:g} s for {what}")
        pause.wait(min(LOOK_EVERY, max(deadline.remaining, 0.001)))


class Stopwatch:
    """Seconds since it was made; for assertions on how long something took."""

    def __init__(self) -> None:
        """Start it."""
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start


def moment() -> float:
    """Return the present moment in seconds; comparable between the processes of one machine, until it is started anew."""
    return time.monotonic()


def pause(seconds: float) -> None:
    """Let time pass as part of a test's load: a task's work, the time between two faults. Not a way to wait for something."""
    threading.Event().wait(seconds)
