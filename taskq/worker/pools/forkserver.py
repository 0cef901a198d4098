"""Starting pool processes: from a forkserver that has the user's modules loaded, or each from a new interpreter.

A plain fork of the worker is never used: a child would hold copies of librdkafka's handles and of locks held by threads it does not
have.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Lock
from typing import Any

from taskq.streams import empty, flush_or_discard
from taskq.worker.pools import preload

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_PRELOADED = (
    preload.__name__,
    # What every pool process imports after its fork; loaded before, its pages are shared.
    "multiprocessing.popen_forkserver",
    "multiprocessing.sharedctypes",
    "multiprocessing.synchronize",
    "taskq.worker.poolfactory",
    "taskq.worker.pools.child",
)


class ProcessStarter:
    """Starts processes. One thread at a time may use it."""

    def __init__(self, modules: Sequence[str]) -> None:
        """Remember what to preload.

        Args:
            modules: Names of modules that were imported here without an error.
        """
        self._modules = list(modules)
        self._context: BaseContext = multiprocessing.get_context("forkserver")
        multiprocessing.get_context("forkserver").set_forkserver_preload(list(_PRELOADED))

    @property
    def is_preloading(self) -> bool:
        """Whether processes come from the forkserver."""
        return self._context.get_start_method() == "forkserver"

    def stop_preloading(self) -> None:
        """Start each further process from a new interpreter: slower, and clean."""
        self._context = multiprocessing.get_context("spawn")

    def new_lock(self) -> Lock:
        """Return a lock that can be shared with a process that is started after it.

        The first one starts the helper of multiprocessing that keeps the names of all. It ignores SIGINT and SIGTERM by itself, and
        gets SIGQUIT blocked here: else the terminal's quit key, which goes to all processes, would end it before this one, which
        would start another and have it strike out names that it does not know.
        """
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGQUIT,))
        try:
            return self._context.Lock()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def start(self, target: Callable[..., None], arguments: tuple[Any, ...]) -> BaseProcess:
        """Start a process; it begins with SIGINT and SIGTERM blocked.

        The two are blocked here for the while, because the forkserver and its helper inherit the mask: otherwise a Ctrl-C, or a
        SIGTERM to the whole control group, would end it under the children. They are delivered to this thread afterwards.
        """
        process: BaseProcess = self._context.Process(target=target, args=arguments)  # type: ignore[attr-defined]  # every concrete context has it
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
        os.environ[preload.VARIABLE] = json.dumps({"modules": self._modules, "path": sys.path})
        # multiprocessing flushes both streams before a start: what a full disk left in them would fail it.
        flush_or_discard(empty)
        try:
            with _without_program():
                process.start()
        finally:
            os.environ.pop(preload.VARIABLE, None)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return process


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
