"""The thread that starts a prefork pool's processes: one after the other, with growing waits while they fail.

A thread of its own, because the first start waits until the forkserver has imported the user's modules. What a process is started
from is in forkserver.py.
"""

from __future__ import annotations

import logging
import queue
import socket
import tempfile
import threading
from collections.abc import Callable, Sequence
from multiprocessing.sharedctypes import RawArray
from typing import Any

from taskq.clock import Clock
from taskq.errortext import error_text
from taskq.logs import log_failure
from taskq.worker.pools import child
from taskq.worker.pools.child import ChildSetup
from taskq.worker.pools.childlink import ChildLink
from taskq.worker.pools.forkserver import ProcessStarter

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
        """Prepare; nothing is started.

        Args:
            setup: What each process is told.
            modules: The user's modules, imported here without an error.
            clock: For backoff.
            on_started: Takes over a process; called in the starting thread.
            may_start: Whether the pool still wants processes.
            has_been_ready: Whether the pool was ready once: then failures do not break it.
        """
        self._setup = setup
        self._clock = clock
        self._processes = ProcessStarter(modules)
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

    @property
    def is_preloading(self) -> bool:
        """Whether processes come from the forkserver."""
        return self._processes.is_preloading

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name="taskq-starter", daemon=True).start()

    def stop(self) -> None:
        """Start no more; returns at once."""
        self._wanted.put(None)
        self._stopping.set()

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

    def refuse_preloading(self, leftovers: Sequence[tuple[str, str]]) -> None:
        """Start each further process from a new interpreter, because of what a module left behind in the forkserver."""
        module, what = leftovers[0]
        logger.warning(
            "module %s leaves %s behind when it is imported, which must not be inherited by pool processes: "
            "each process imports the modules itself, which takes longer and needs more memory",
            module,
            what,
            extra={"event": "pool.preload_refused"},
        )
        self._processes.stop_preloading()

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
            except (
                EOFError
            ):  # no answer from the forkserver, which imports the modules before it answers
                self._forkserver_died(lane)
            except OSError as error:  # no memory, no process, no file left
                self.note_failure(lane, f"the system refused it: {_reason(error)}")
        with self._guard:
            self._pending -= 1

    def _started(self, lane: int) -> ChildLink:
        is_preloaded = self._processes.is_preloading
        memory: Any = RawArray("q", 4)
        lock = self._processes.new_lock()
        mine, theirs = socket.socketpair()
        try:
            with self.process_lock:
                process = self._processes.start(child.main, (self._setup, theirs, memory, lock))
        except BaseException:
            mine.close()
            raise
        finally:
            theirs.close()
        return ChildLink(lane, process, mine, memory, lock, is_preloaded=is_preloaded)

    def _forkserver_died(self, lane: int) -> None:
        """Go on without preloading: a module may not stand being imported there, and what it does in a child shows in the child."""
        logger.warning(
            "the process that preloads the modules ended before it had started a pool process: "
            "each process imports the modules itself, which takes longer and needs more memory",
            extra={"event": "pool.preload_refused"},
        )
        self._processes.stop_preloading()
        self.want(lane)


def _reason(error: OSError) -> str:
    """Return why the system refused something; where it is the place of multiprocessing's sockets, with what to do."""
    if "AF_UNIX" not in str(error):
        return str(error)
    return f"{error}: {tempfile.gettempdir()} is too long for a socket's folder; set TMPDIR to a shorter one"
