"""Soft time limits of plain functions: raising `SoftTimeLimitExceeded` in a function that runs.

In a main thread by a timer of the system and its signal; in other threads by asking the interpreter to raise there. Both raise
between two steps of Python code: a call into C is not interrupted, but a `time.sleep` in the main thread is. Coroutines:
asynclimits.py.
"""

from __future__ import annotations

import math
import signal
import threading
from typing import Any

from taskq.clock import Clock
from taskq.errors import SoftTimeLimitExceeded
from taskq.running.interrupts import raise_in


class SignalAlarm:
    """For functions that run in the main thread: SIGALRM, taken for the while. A task that sets its own timer loses its limit."""

    def __init__(self, *, cancels: bool) -> None:
        """Prepare; nothing of the process is changed.

        Args:
            cancels: Whether coroutines are cancelled at their hard limit, because nobody ends the process.
        """
        self.cancels = cancels
        self._is_set = False
        self._seconds = 0.0
        self._before: Any = signal.SIG_DFL

    def set(self, seconds: float) -> None:
        """Raise in the calling thread after so many seconds, unless `clear` is called before."""
        self._seconds = seconds
        self._before = signal.signal(signal.SIGALRM, self._ring)
        self._is_set = True
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def clear(self) -> None:
        """Raise no more: certain from its first step on."""
        self._is_set = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._before or signal.SIG_DFL)

    def _ring(self, _number: int, _frame: object) -> None:
        if self._is_set:
            self._is_set = False
            raise SoftTimeLimitExceeded(self._seconds)


class ThreadAlarm:
    """For functions that run in any thread. One thread of its own, started by the first limit, watches them all."""

    cancels = True

    def __init__(self, clock: Clock) -> None:
        """Prepare; nothing is started."""
        self._clock = clock
        self._guard = threading.Lock()
        self._set: dict[int, float] = {}
        """When, by thread."""

        self._rung: set[int] = set()
        """Threads that were asked to raise, and have not cleared their alarm."""

        self._next = math.inf
        """When the watcher looks again."""

        self._wake = threading.Event()
        self._watcher: threading.Thread | None = None

    def set(self, seconds: float) -> None:
        """Raise in the calling thread after so many seconds, unless `clear` is called before."""
        at = self._clock.monotonic() + seconds
        with self._guard:
            self._set[threading.get_ident()] = at
            is_sooner = at < self._next
            if self._watcher is None:
                self._watcher = threading.Thread(
                    target=self._watch, name="taskq-limits", daemon=True
                )
                self._watcher.start()
        if is_sooner:
            self._wake.set()

    def clear(self) -> None:
        """Raise no more, also not what was asked for and has not been raised yet."""
        thread = threading.get_ident()
        with self._guard:
            self._set.pop(thread, None)
            if thread in self._rung:
                self._rung.discard(thread)
                raise_in(thread, None)

    def _watch(self) -> None:
        while True:
            self._wake.clear()
            self._clock.wait(self._wake, self._ring_due())

    def _ring_due(self) -> float | None:
        """Ring what is due; return the seconds until the next is, None if nothing is set."""
        now = self._clock.monotonic()
        with self._guard:
            for thread in [thread for thread, at in self._set.items() if at <= now]:
                del self._set[thread]
                self._rung.add(thread)
                raise_in(thread, SoftTimeLimitExceeded)
            self._next = min(self._set.values(), default=math.inf)
            return self._next - now if self._set else None
