"""Signals as bytes in a pipe: the supervisor reads which came.

Before there is a supervisor that reads, while a process still imports what it is to run, they raise as well.
"""

from __future__ import annotations

import contextlib
import select
import signal
import socket
from collections.abc import Callable, Sequence
from types import FrameType, TracebackType
from typing import Any, TypeAlias

from taskq.clock import Clock, SystemClock
from taskq.exitcodes import FINE, SIGNALLED

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""The first stops in order, the second at once."""

ALL_SIGNALS = (*STOP_SIGNALS, signal.SIGQUIT)
"""SIGQUIT stops at once."""


ECHO_SECONDS = 0.5
"""After the first stop another one within this is the same wish: a wrapper passes on what its whole group got, or a key bounced."""

_SYSTEM_CLOCK = SystemClock()

_Handler: TypeAlias = Callable[[int, FrameType | None], Any] | int | signal.Handlers | None
"""As `signal.signal` returns it."""


class StopAsked(BaseException):
    """A signal came before the process had begun its work: raised in the main thread, wherever that is.

    No Exception and no SystemExit: the modules that are imported then may have doors for these.
    """

    def __init__(self, number: int, *, again: bool) -> None:
        """Take the signal, and whether it is not the first."""
        super().__init__(number)
        self.code = FINE if number in STOP_SIGNALS and not again else SIGNALLED + number
        """What the process is to end with."""


class _Echoes:
    """Tells the echo of a first stop from a second one. One thread calls it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._first: float | None = None

    def has(self, number: int) -> bool:
        """Return whether a signal that has just come is an echo."""
        if number not in STOP_SIGNALS:
            return False
        now = self._clock.monotonic()
        if self._first is None:
            self._first = now
            return False
        return now - self._first < ECHO_SECONDS


class Signals:
    """Catches signals while it is entered, in the main thread; any one thread may wait for them.

    Python writes a signal's number into the pipe in the C handler itself, so it arrives also while the main thread sits in a long
    call of some library.
    """

    def __init__(
        self,
        numbers: Sequence[signal.Signals] = ALL_SIGNALS,
        *,
        raising: bool = False,
        clock: Clock = _SYSTEM_CLOCK,
    ) -> None:
        """Choose which signals; nothing is caught yet.

        Args:
            numbers: These, and no others.
            raising: Whether each raises `StopAsked` besides, until `calm` is called.
            clock: For echoes.
        """
        self._numbers = tuple(numbers)
        self._raising = raising
        self._raised = False
        self._echoes_raised = _Echoes(clock)  # of the main thread
        self._echoes = _Echoes(clock)  # of who waits

    def __enter__(self) -> Signals:
        """Take the signals over: the pipe first, so that it has each signal that its handler takes."""
        self._read_end, self._write_end = socket.socketpair()
        self._read_end.setblocking(False)
        self._write_end.setblocking(False)
        self._fd_before = signal.set_wakeup_fd(self._write_end.fileno(), warn_on_full_buffer=False)
        self._before: list[tuple[signal.Signals, _Handler]] = []
        try:
            for number in self._numbers:
                self._before.append((number, signal.signal(number, self._handle)))
        except BaseException:  # a handler from before, such as that of Ctrl-C, raised in between
            self._give_back()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give them back."""
        self._give_back()

    def _give_back(self) -> None:
        """Undo it in the reverse order, so that no signal finds our handler and no pipe."""
        for number, handler in reversed(self._before):
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._fd_before)
        self._read_end.close()
        self._write_end.close()

    def calm(self) -> None:
        """Raise no more: from here on somebody waits for them, also for those that came before.

        Takes over again what an imported module may have taken for itself.
        """
        self._raising = False
        signal.set_wakeup_fd(self._write_end.fileno(), warn_on_full_buffer=False)
        for number in self._numbers:
            signal.signal(number, self._handle)

    def wake(self) -> None:
        """End a `wait` without a signal. Any thread may call it, also when the signals were given back."""
        with contextlib.suppress(OSError):  # it is full, so it wakes already; or closed
            self._write_end.send(b"\0")

    def fileno(self) -> int:
        """Return what becomes readable when a signal has come."""
        return self._read_end.fileno()

    def wait(self, timeout: float | None) -> list[int]:
        """Return the numbers of the signals that came, in order; wait at most `timeout` seconds for the first, None for ever.

        An echo of the first stop is left out: then it returns without a number.
        """
        ready, _, _ = select.select([self._read_end], [], [], timeout)
        if not ready:
            return []
        came = [number for number in self._read_end.recv(64) if number in self._numbers]
        return [number for number in came if not self._echoes.has(number)]

    def _handle(self, number: int, frame: FrameType | None) -> None:
        """Keep the signal from its default action; the pipe has its number already."""
        if self._raising and not self._echoes_raised.has(number):
            again, self._raised = self._raised, True
            raise StopAsked(number, again=again)
