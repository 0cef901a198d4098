"""The thread that starts a prefork pool's processes: one after the other, with growing waits while they fail.

A thread of its own, because a start waits for the process to exist, and for the backoff after one that failed. What a process is
started from is in processes.py.
"""

from __future__ import annotations

import logging
import queue
import socket
import threading
from collections.abc import Callable, Sequence

from taskq.clock import Clock
from taskq.errortext import error_text
from taskq.logs import log_failure
from taskq.worker.pools.child import ChildSetup
from taskq.worker.pools.childlink import ChildLink
from taskq.worker.pools.childstate import ChildState
from taskq.worker.pools.nursery import NurseryGone
from taskq.worker.pools.processes import ProcessStarter

logger = logging.getLogger(__name__)

_START_FAILURES = 3
"""Processes in a row that end before they are ready, after which a pool gives up that was never ready itself.

One that was goes on trying: what keeps its processes from starting (a database that restarts) may end, and others still run tasks.
"""

_FIRST_BACKOFF = 0.2
_LONGEST_BACKOFF = 10.0
"""Seconds between an end in start-up and the next try, for all lanes together; doubled each time."""

_MOST_DOUBLINGS = 10
"""More than the longest backoff needs: two to the power of a day's failures is no float any more."""


class ChildStarter:
    """Any thread may call it, except where a method says otherwise."""

    def __init__(
        self,
        setup: ChildSetup,
        modules: Sequence[str],
        clock: Clock,
        *,
        on_started: Callable[[ChildLink], None],
        may_start: Callable[[], bool],
        has_been_ready: Callable[[], bool],
    ) -> None:
        """Prepare: what processes are copies of is made here, as this process is at this moment.

        Args:
            setup: What each process is told.
            modules: The user's modules, imported here without an error.
            clock: For backoff.
            on_started: Takes over a process; called in the starting thread.
            may_start: Whether the pool still wants processes.
            has_been_ready: Whether the pool was ready once: then failures do not break it.
        """
        self._clock = clock
        self._processes = ProcessStarter(setup, modules)
        self._on_started = on_started
        self._may_start = may_start
        self._has_been_ready = has_been_ready
        self._failures = 0
        self._broken: str | None = None
        self._pending = 0
        self._guard = threading.Lock()  # for the number above
        self._wanted: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self.process_lock = threading.Lock()
        """multiprocessing's own bookkeeping of processes is not made for two threads."""

    @property
    def broken(self) -> str | None:
        """Why no process can be started; None while one can."""
        return self._broken

    @property
    def is_pending(self) -> bool:
        """Whether a process that was wanted is not started yet, nor given up."""
        with self._guard:
            return self._pending > 0

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name="taskq-starter", daemon=True).start()

    def stop(self) -> None:
        """Start no more; returns at once."""
        self._wanted.put(None)
        self._stopping.set()

    def close(self) -> None:
        """Let go of what processes are started from, after the last one has ended."""
        with self.process_lock:
            self._processes.close()

    def want(self, lane: int) -> None:
        """Have a process started for a lane."""
        with self._guard:
            self._pending += 1
        self._wanted.put(lane)

    def note_ready(self) -> None:
        """Take note that a process is ready: the failures before it do not count any more."""
        self._failures = 0

    def note_failure(self, lane: int, why: str) -> None:
        """Take note that a lane's process ended before it was ready; have another started, or break."""
        self._failures += 1
        if self._failures >= _START_FAILURES and not self._has_been_ready():
            self._broken = f"pool processes do not start ({self._failures} in a row): {why}"
            return
        logger.error(
            "a pool process did not start: %s; it is tried again in %.1f s",
            why,
            self._backoff(),
            extra={"event": "pool.start_failed"},
        )
        if not self._stopping.is_set():
            self.want(lane)

    # The thread

    def _run(self) -> None:
        while True:
            lane = self._wanted.get()
            if lane is None:
                break
            if self._failures:
                self._clock.wait(self._stopping, self._backoff())
            try:
                self._start_one(lane)
            except BaseException as error:  # noqa: BLE001 - the loop's door, as the reading thread's
                self._broken = f"pool processes cannot be started: {error_text(error)}"
                log_failure(
                    logger, "starting a pool process failed", extra={"event": "pool.failed"}
                )
        with self._guard:
            self._pending = 0

    def _backoff(self) -> float:
        doublings = min(self._failures - 1, _MOST_DOUBLINGS)
        return min(_LONGEST_BACKOFF, _FIRST_BACKOFF * 2.0**doublings)

    def _start_one(self, lane: int) -> None:
        if self._may_start():
            try:
                self._on_started(self._started(lane))
            except OSError as error:  # no memory, no process, no file left
                if self._may_start():  # else the pool was ended meanwhile
                    self.note_failure(lane, f"the system refused it: {error}")
        with self._guard:
            self._pending -= 1

    def _started(self, lane: int) -> ChildLink:
        try:
            return self._started_on_new_link(lane)
        except NurseryGone:
            # It may have made a process that has the link: so that link is closed, and this is another.
            with self.process_lock:
                self._processes.go_on_without_copies()
            return self._started_on_new_link(lane)

    def _started_on_new_link(self, lane: int) -> ChildLink:
        state = ChildState.new()
        try:
            mine, theirs = socket.socketpair()
        except BaseException:
            state.close()
            raise
        try:
            with self.process_lock:
                process = self._processes.start(theirs, state)
                is_copy = self._processes.is_copying
        except BaseException:
            mine.close()
            state.close()
            raise
        finally:
            theirs.close()
        return ChildLink(lane, process, mine, state, is_copy=is_copy)
