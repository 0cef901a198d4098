"""A crew of daemon threads, made when they are needed.

Not `concurrent.futures`: its threads are joined when the interpreter ends, so a task that hangs would keep a stopped worker from
ending.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

from taskq.logs import log_failure

logger = logging.getLogger(__name__)


class Crew:
    """Runs calls in at most `size` threads. Any thread may submit."""

    def __init__(self, size: int, name: str, farewell: Callable[[], None]) -> None:
        """Prepare; no thread is started.

        Args:
            size: Threads at most.
            name: Theirs begin with it.
            farewell: Called in each thread at its end.
        """
        self._size = size
        self._farewell = farewell
        self._name = name
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._guard = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._unfinished = 0
        self._is_short = False

    def submit(self, call: Callable[[], None]) -> None:
        """Have a call made; it waits while all threads are busy. What it raises is logged: it has to report failures itself.

        Raises:
            RuntimeError: There is no thread and the system gives none: the call will not be made. Where there are some it waits.
        """
        with self._guard:
            self._unfinished += 1
            if len(self._threads) < min(self._unfinished, self._size):
                try:
                    self._grow()
                except RuntimeError as error:
                    self._do_without(error)
        self._calls.put(call)

    def _do_without(self, error: RuntimeError) -> None:
        if not self._threads:
            self._unfinished -= 1
            raise error
        if not self._is_short:
            self._is_short = True
            logger.warning(
                "the system gives no more threads (%s): %d tasks run at a time, not %d; tried again with each task",
                error,
                len(self._threads),
                self._size,
                extra={"event": "pool.start_failed"},
            )

    def dismiss(self) -> None:
        """Let the threads end after the calls that were submitted; returns at once."""
        with self._guard:
            for _ in self._threads:
                self._calls.put(None)

    def _grow(self) -> None:
        name = f"{self._name}-{len(self._threads) + 1}"
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)
        self._is_short = False

    def _work(self) -> None:
        while True:
            call = self._calls.get()
            if call is None:
                self._farewell()
                return
            try:
                call()
            except BaseException:  # noqa: BLE001 - the loop's door; a SystemExit would end the thread without a word
                log_failure(logger, "a pool thread's call failed", extra={"event": "pool.failed"})
            with self._guard:
                self._unfinished -= 1
