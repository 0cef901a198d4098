"""Signals as bytes in a pipe: a handler does nothing, the supervisor reads which came."""

from __future__ import annotations

import select
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, TypeAlias

from taskq.exitcodes import SIGNALLED

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""The first stops in order, the second at once."""

ALL_SIGNALS = (*STOP_SIGNALS, signal.SIGQUIT)
"""SIGQUIT stops at once."""


_Handler: TypeAlias = Callable[[int, FrameType | None], Any] | int | signal.Handlers | None
"""As `signal.signal` returns it."""


class Signals:
    """Catches signals while it is entered, in the main thread; any one thread may wait for them.

    Python writes a signal's number into the pipe in the C handler itself, so it arrives also while the main thread sits in a long
    call of some library.
    """

    def __init__(self, numbers: Sequence[signal.Signals] = ALL_SIGNALS) -> None:
        """Choose which signals; nothing is caught yet."""
        self._numbers = tuple(numbers)

    def __enter__(self) -> Signals:
        """Take the signals over: the pipe first, so that a signal whose handler does nothing is in it."""
        self._read_end, self._write_end = socket.socketpair()
        self._read_end.setblocking(False)
        self._write_end.setblocking(False)
        self._fd_before = signal.set_wakeup_fd(self._write_end.fileno(), warn_on_full_buffer=False)
        self._before: list[tuple[signal.Signals, _Handler]] = []
        try:
            for number in self._numbers:
                self._before.append((number, signal.signal(number, _nothing)))
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
        """Undo it in the reverse order, so that no signal finds a handler that does nothing and no pipe."""
        for number, handler in reversed(self._before):
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._fd_before)
        self._read_end.close()
        self._write_end.close()

    def fileno(self) -> int:
        """Return what becomes readable when a signal has come."""
        return self._read_end.fileno()

    def wait(self, timeout: float) -> list[int]:
        """Return the numbers of the signals that came, in order; wait at most `timeout` seconds for the first."""
        ready, _, _ = select.select([self._read_end], [], [], timeout)
        if not ready:
            return []
        return [number for number in self._read_end.recv(64) if number in self._numbers]


@contextmanager
def term_raises() -> Iterator[None]:
    """Let SIGTERM raise SystemExit in the main thread, as SIGINT raises KeyboardInterrupt: what was started can be ended then."""
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(SIGNALLED + number)


def _nothing(number: int, frame: FrameType | None) -> None:
    """Keep the signal from its default action; `Signals` has its number already."""
