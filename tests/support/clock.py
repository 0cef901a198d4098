"""A clock that stands still until a test moves it."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta, timezone

START = datetime(2026, 11, 23, 17, 0, tzinfo=timezone.utc)


class FakeClock:
    """A `taskq.clock.Clock` moved by `advance`. Any thread may call it.

    `wait` blocks in real time, until its event is set or the clock was moved past its end; `sleepers` and `wait_for_sleeper` tell
    a test that a thread has come to rest, so that moving the clock cannot be too early.
    """

    def __init__(self, start: datetime = START) -> None:
        self._start = start
        self._elapsed = 0.0
        self._moved = threading.Condition()
        self._ends: list[float | None] = []

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self.monotonic())

    def time(self) -> float:
        return self.now().timestamp()

    def monotonic(self) -> float:
        with self._moved:
            return self._elapsed

    def advance(self, seconds: float) -> None:
        """Move the clock forward and wake the waits that are over."""
        with self._moved:
            self._elapsed += seconds
            self._moved.notify_all()

    def wait(self, event: threading.Event, timeout: float | None) -> bool:
        with self._moved:
            end = None if timeout is None else self._elapsed + timeout
            self._ends.append(end)
            self._moved.notify_all()
            try:
                while not event.is_set() and (end is None or self._elapsed < end):
                    # An Event cannot wake a Condition: look again every 2 ms.
                    self._moved.wait(0.002)
            finally:
                self._ends.remove(end)
        return event.is_set()

    @property
    def sleepers(self) -> int:
        """How many threads are inside `wait`."""
        with self._moved:
            return len(self._ends)

    def wait_for_sleeper(self, deadline: float = 5.0) -> None:
        """Block until some thread is inside `wait`; fails after `deadline` real seconds."""
        with self._moved:
            assert self._moved.wait_for(lambda: bool(self._ends), deadline), "no thread waits"
