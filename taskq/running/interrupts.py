"""Ending a run in a process that must live: an exception in its function, from another thread.

A thread raises between two steps of Python code: a call into C, such as `time.sleep`, ends first. A coroutine is cancelled where
it awaits. Pool processes need none of it: they are killed. Time limits: worker/pools/alarms.py and asynclimits.py.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from taskq.errors import Terminated

if TYPE_CHECKING:
    import asyncio


class Interruptible:
    """A run that may be ended. Its fields are `Interrupts`' own, but for `is_terminated`, which others may read."""

    __slots__ = ("interrupt", "is_terminated")

    def __init__(self) -> None:
        self.interrupt: Callable[[], None] | None = None
        """Raises in the function; None while it does not run."""

        self.is_terminated = False
        """Whether it was asked to end."""


class Interrupts:
    """Of one process. Any thread may use it."""

    def __init__(self) -> None:
        """Prepare; nothing runs."""
        self._guard = threading.Lock()

    def end(self, run: Interruptible) -> bool:
        """Have a run's function raise; return whether it does for this call: not if it does not run, or was asked before."""
        with self._guard:
            if run.interrupt is None or run.is_terminated:
                return False
            run.is_terminated = True
            run.interrupt()
            return True

    def enter(self, run: Interruptible) -> None:
        """Say that the calling thread is about to run the function."""
        run.interrupt = partial(raise_in, threading.get_ident(), Terminated)

    def leave(self, run: Interruptible) -> None:
        """Say that the function has ended: certain from here on, also of what was asked for and was not raised yet."""
        with self._guard:
            run.interrupt = None
            if run.is_terminated:
                raise_in(threading.get_ident(), None)

    def enter_task(
        self, run: Interruptible, loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]
    ) -> None:
        """Say that a task of a loop is about to run the function; called in the loop."""
        run.interrupt = partial(_cancel, loop, task)

    def leave_task(self, run: Interruptible) -> None:
        """Say that the function has ended, and that its task ends before it awaits again."""
        with self._guard:
            run.interrupt = None


def _cancel(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
    loop.call_soon_threadsafe(task.cancel)


def raise_in(thread: int, error: type[BaseException] | None) -> None:
    """Have an exception raised in a thread at its next step of Python code; None takes back one that was not raised yet."""
    import ctypes  # a megabyte that workers without such limits do without

    what = None if error is None else ctypes.py_object(error)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), what)
