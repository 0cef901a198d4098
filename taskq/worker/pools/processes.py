"""Starting pool processes: as copies of the nursery, or each from a new interpreter, which imports the user's modules itself."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.machinery import ModuleSpec
from multiprocessing import resource_tracker
from typing import Protocol

from taskq.streams import empty, flush_or_discard
from taskq.worker.pools import child
from taskq.worker.pools.child import ChildSetup
from taskq.worker.pools.childstate import ChildState
from taskq.worker.pools.inheritance import hindrances
from taskq.worker.pools.nursery import Nursery
from taskq.worker.signals import STOP_SIGNALS

logger = logging.getLogger(__name__)


class PoolProcess(Protocol):
    """What is asked of a process, however it was started."""

    @property
    def pid(self) -> int | None:
        """Its number."""

    @property
    def sentinel(self) -> int:
        """A descriptor that is readable when it has ended."""

    @property
    def exitcode(self) -> int | None:
        """How it ended; minus the signal's number if one killed it. None while it runs."""

    def is_alive(self) -> bool:
        """Return whether it runs."""

    def join(self, timeout: float) -> None:
        """Wait for its end, at most so many seconds."""


class ProcessStarter:
    """Starts processes. One thread at a time may use it."""

    def __init__(self, setup: ChildSetup, modules: Sequence[str]) -> None:
        """Make the nursery, if this process can be copied at this moment.

        Args:
            setup: What each process is told.
            modules: Names of the user's modules, for the line that says why it cannot.
        """
        self._setup = setup
        self._nursery: Nursery | None = None
        if found := hindrances():
            self._say_why(
                f"{_named(modules)} {found[0]} behind when imported, which must not be inherited by pool processes"
            )
            return
        try:
            self._nursery = Nursery(partial(child.main, setup))
        except OSError as error:
            self._say_why(
                f"the system refused the process that pool processes are copies of: {error}"
            )

    @property
    def is_copying(self) -> bool:
        """Whether processes are copies of the nursery."""
        return self._nursery is not None

    def start(self, link: socket.socket, state: ChildState) -> PoolProcess:
        """Start a process; blocks until it exists.

        Args:
            link: Its end of its link.
            state: What it shares with its parent.

        Raises:
            NurseryGone: There is no nursery any more; call `go_on_without_copies`. A process may exist that has the link.
            OSError: The system gives no process.
        """
        if self._nursery is not None:
            return self._nursery.start(link, state)
        return self._start_anew(link, state)

    def go_on_without_copies(self) -> None:
        """Take note that the nursery is gone, and say so."""
        self.stop_copying()
        self._say_why("the process that pool processes are copies of has ended")

    def stop_copying(self) -> None:
        """Start each further process from a new interpreter: slower, and clean."""
        self.close()
        self._nursery = None

    def close(self) -> None:
        """Let the nursery end, after the last pool process."""
        if self._nursery is not None:
            self._nursery.close()

    def _start_anew(self, link: socket.socket, state: ChildState) -> PoolProcess:
        """Start a process that begins with SIGINT and SIGTERM blocked.

        The two are blocked here for the while, because it inherits the mask: otherwise a Ctrl-C, or a SIGTERM to the whole control
        group, would end it in its first moments. They are delivered to this thread afterwards. SIGQUIT is blocked while the helper
        of multiprocessing starts, which keeps the names of what is shared: else the terminal's quit key would end it first.
        """
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {*STOP_SIGNALS, signal.SIGQUIT})
        try:
            resource_tracker.ensure_running()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGQUIT} - before)
            # multiprocessing flushes both streams before a start: what a full disk left in them would fail it.
            flush_or_discard(empty)
            process = multiprocessing.get_context("spawn").Process(
                target=child.main, args=(self._setup, link, state)
            )
            with _without_program():
                process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return process

    def _say_why(self, why: str) -> None:
        logger.warning(
            "%s: each process imports the modules itself, which takes longer and needs more memory",
            why,
            extra={"event": "pool.preload_refused"},
        )


def _named(modules: Sequence[str]) -> str:
    return (
        f"module {modules[0]} leaves"
        if len(modules) == 1
        else f"modules {', '.join(modules)} leave"
    )


@contextmanager
def _without_program() -> Iterator[None]:
    """Keep a process that is started from running this program's file again, for what might be defined there: here that is nothing.

    The file is the script `taskq`, and each process would load the command line with it. multiprocessing passes over a program
    that is a package's `__main__`, and knows it by its name alone.
    """
    program = sys.modules["__main__"]
    before = program.__spec__
    program.__spec__ = ModuleSpec("taskq.__main__", None)
    try:
        yield
    finally:
        program.__spec__ = before
