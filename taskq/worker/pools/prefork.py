"""The default pool: N processes, each one lane of one slot.

Threads: one reads all children's sockets and judges the dead; one starts processes, because the first start waits until the
forkserver has imported the user's modules. Handing over is done by whoever calls `send`.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import selectors
import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.sharedctypes import RawArray
from typing import Any

from taskq.clock import Clock
from taskq.executor import FAILED, SUCCEEDED, Detail, Result, error_text
from taskq.logs import log_failure
from taskq.worker.delivery import Delivery
from taskq.worker.pools import child
from taskq.worker.pools.child import ChildSetup
from taskq.worker.pools.childlink import ChildLink
from taskq.worker.pools.forkserver import ProcessStarter
from taskq.worker.pools.protocol import PoolEvents
from taskq.worker.pools.wire import Hello

logger = logging.getLogger(__name__)

RECALL_AFTER = 0.1
"""Seconds a task may run before what its child holds behind it is called back."""

_START_FAILURES = 3
"""Processes in a row that end before they are ready, after which a pool gives up that was never ready itself.

One that was goes on trying: what keeps its processes from starting (a database that restarts) may end, and others still run tasks.
"""

_READ_FAILURES = 3
"""Times that taking results may fail before it is given up: a few, because what healthy processes run should end in order."""

_FIRST_BACKOFF = 0.2
_LONGEST_BACKOFF = 10.0
"""Seconds between an end in start-up and the next try, for all lanes together; doubled each time."""

_MOST_DOUBLINGS = 10
"""More than the longest backoff needs: two to the power of a day's failures is no float any more."""

_EXIT_PATIENCE = 2.0
"""Seconds a process may take to end after it has closed its socket."""


class PreforkPool:
    """See the module. Its public methods may be called by any thread."""

    uses_main_thread = False
    starts_beside = True

    def __init__(self, slots: int, setup: ChildSetup, modules: Sequence[str], clock: Clock) -> None:
        """Prepare; nothing is started.

        Args:
            slots: The number of processes.
            setup: What each is told.
            modules: The user's modules, imported here without an error.
            clock: For the age of running tasks and for backoff.
        """
        self._slots = slots
        self._setup = setup
        self._clock = clock
        self._starter = ProcessStarter(modules)
        self._children: list[ChildLink | None] = [None] * slots
        self._was_ready = [False] * slots
        self._failures = 0
        self._broken: str | None = None
        self._is_stopping = False
        self._is_killed = False
        self._pending_starts = 0
        self._guard = threading.Lock()  # for all above that changes
        self._process_lock = threading.Lock()
        """multiprocessing's own bookkeeping of processes is not made for two threads."""

        self._wanted: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._runs: dict[int, tuple[Delivery, float]] = {}  # by lane; the ticking thread's
        self._selector = selectors.DefaultSelector()
        self._asked: deque[Callable[[], None]] = deque()
        self._stranded: deque[tuple[int, Sequence[Delivery]]] = deque()
        """Lane and deliveries that were sent to it when it had no child; the reading thread gives them back."""

        self._bell, self._bell_handle = socket.socketpair()
        self._events: PoolEvents | None = None
        self._starts = threading.Event()  # set to wake the starting thread out of its backoff

    # What it is

    @property
    def widths(self) -> Sequence[int]:
        """The number of slots of each lane."""
        return [1] * self._slots

    @property
    def is_ready(self) -> bool:
        """Whether every lane has been open once."""
        return all(self._was_ready)

    @property
    def broken(self) -> str | None:
        """Why the pool cannot go on; None while it can."""
        return self._broken

    @property
    def is_down(self) -> bool:
        """Whether everything has ended after `shut_down`."""
        with self._guard:
            return not self._pending_starts and not any(self._children)

    def pids(self) -> list[int]:
        """Return the ids of the processes that are ready."""
        with self._guard:
            links = [link for link in self._children if link is not None and link.is_ready]
        return [link.process.pid for link in links if link.process.pid is not None]

    # Life

    def start(self, events: PoolEvents) -> None:
        """Begin to start; see `Pool`."""
        self._events = events
        for lane in range(self._slots):
            events.on_lane(lane, is_open=False)
            self._want(lane)
        self._bell.setblocking(False)
        self._bell_handle.setblocking(False)
        self._selector.register(self._bell, selectors.EVENT_READ, None)
        threading.Thread(target=self._start_loop, name="taskq-starter", daemon=True).start()
        threading.Thread(target=self._read_loop, name="taskq-results", daemon=True).start()

    def serve(self) -> None:
        """Return: nothing runs in the main thread."""

    def send(self, lane: int, deliveries: Sequence[Delivery]) -> None:
        """Hand deliveries to a lane; see `Pool`."""
        link = self._children[lane]
        if link is None or not link.hand_over(deliveries):
            # Not returned from here: the caller would be handed them again, for the same lane if that is not closed yet.
            with self._guard:
                self._stranded.append((lane, deliveries))
            self._ask(self._give_back)
        elif link.has_unsent:
            self._ask(partial(self._watch, link))

    def tick(self) -> None:
        """Notice deaths that nothing else tells; call back what waits behind a task that runs for more than `RECALL_AFTER`."""
        self._look_for_dead()
        now = self._clock.monotonic()
        for lane, link in enumerate(self._children):
            running = link.running() if link is not None else None
            if link is None or running is None:
                self._runs.pop(lane, None)
                continue
            known, since = self._runs.get(lane, (None, now))
            if known is not running:
                self._runs[lane] = (running, now)
            elif now - since > RECALL_AFTER:
                returned = link.recall()
                if returned:
                    self._tell.on_slow(running)
                    self._tell.on_returned(returned)

    def _look_for_dead(self) -> None:
        """Have those buried whose death no descriptor tells: a process that a task forked holds copies of all.

        The forkserver tells of its children by itself.
        """
        if not self._process_lock.acquire(blocking=False):
            return  # a process is being started or buried; the next tick looks again
        try:
            dead = [
                link
                for link in self._children
                if link is not None
                and link.is_watched
                and not link.is_preloaded
                and link.process.exitcode is not None
            ]
        finally:
            self._process_lock.release()
        for link in dead:
            self._ask(partial(self._bury, link))

    def unfinished(self) -> list[Delivery]:
        """Return what is handed over and not reported."""
        with self._guard:
            links = [link for link in self._children if link is not None]
            stranded = [delivery for _, deliveries in self._stranded for delivery in deliveries]
        return stranded + [delivery for link in links for delivery in link.held()]

    def shut_down(self) -> None:
        """Let all end after what they hold; see `Pool`."""
        with self._guard:
            self._is_stopping = True
            links = [link for link in self._children if link is not None]
        self._wanted.put(None)
        self._starts.set()
        for link in links:
            if link.is_ready:
                link.tell_to_stop()
                if link.has_unsent:
                    self._ask(partial(self._watch, link))
            else:
                link.kill()
        self._ask(_nothing)

    def kill(self) -> None:
        """End everything now; see `Pool`."""
        with self._guard:
            self._is_stopping = self._is_killed = True
            links = [link for link in self._children if link is not None]
        self._wanted.put(None)
        self._starts.set()
        for link in links:
            link.abandon()
        self._ask(_nothing)

    @property
    def _tell(self) -> PoolEvents:
        assert self._events is not None, "start() comes first"
        return self._events

    # Starting processes: the starting thread

    def _want(self, lane: int) -> None:
        with self._guard:
            self._pending_starts += 1
        self._wanted.put(lane)

    def _start_loop(self) -> None:
        while True:
            lane = self._wanted.get()
            if lane is None:
                break
            if self._failures:
                self._clock.wait(self._starts, self._backoff())
            try:
                self._start_one(lane)
            except BaseException as error:  # noqa: BLE001 - the loop's door, as the reading thread's
                self._broken = f"pool processes cannot be started: {error_text(error)}"
                log_failure(
                    logger, "starting a pool process failed", extra={"event": "pool.failed"}
                )
        with self._guard:
            self._pending_starts = 0

    def _backoff(self) -> float:
        doublings = min(self._failures - 1, _MOST_DOUBLINGS)
        return min(_LONGEST_BACKOFF, _FIRST_BACKOFF * 2.0**doublings)

    def _start_one(self, lane: int) -> None:
        if not self._may_start():
            with self._guard:
                self._pending_starts -= 1
            return
        try:
            link = self._started(lane)
        except (
            EOFError
        ):  # no answer from the forkserver, which imports the modules before it answers
            self._forkserver_died(lane)
            with self._guard:
                self._pending_starts -= 1
            return
        except OSError as error:  # no memory, no process, no file left
            self._start_failed(lane, f"the system refused it: {error}")
            with self._guard:
                self._pending_starts -= 1
            return
        with self._guard:
            self._children[lane] = link
            self._pending_starts -= 1
        if self._is_killed:
            link.abandon()
            link.close()  # the reading thread may have ended
            return
        if not self._may_start():
            link.kill()
        self._ask(partial(self._add, link))

    def _may_start(self) -> bool:
        return not self._is_stopping and self._broken is None

    def _started(self, lane: int) -> ChildLink:
        context = self._starter.context
        is_preloaded = self._starter.is_preloading
        memory: Any = RawArray("q", 4)
        lock = context.Lock()
        mine, theirs = socket.socketpair()
        try:
            with self._process_lock:
                process = self._starter.start(child.main, (self._setup, theirs, memory, lock))
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
        self._starter.stop_preloading()
        self._want(lane)

    def _start_failed(self, lane: int, why: str) -> None:
        self._failures += 1
        if self._failures >= _START_FAILURES and not self.is_ready:
            self._broken = f"pool processes do not start ({self._failures} in a row): {why}"
            return
        logger.error(
            "a pool process did not start: %s; it is tried again in %.1f s",
            why,
            self._backoff(),
            extra={"event": "pool.start_failed"},
        )
        if not self._is_stopping:
            self._want(lane)

    # Results and deaths: the reading thread

    def _ask(self, call: Callable[[], None]) -> None:
        """Have the reading thread call something, and wake it for that."""
        self._asked.append(call)
        with contextlib.suppress(
            OSError
        ):  # full: it is going to wake up anyway; closed: it has ended
            self._bell_handle.send(b"x")

    def _read_loop(self) -> None:
        try:
            for _ in range(_READ_FAILURES):
                try:
                    return self._read_until_down()
                except BaseException as error:  # noqa: BLE001 - the loop's door; an app's log handler may raise anything
                    # The supervisor stops the worker; until it has, the other lanes' results are taken.
                    self._broken = f"results of pool processes cannot be taken: {error_text(error)}"
                    log_failure(logger, "taking results failed", extra={"event": "pool.failed"})
        finally:
            self._selector.close()
            for link in self._children:
                if link is not None:
                    link.close()
            self._bell.close()
            self._bell_handle.close()

    def _read_until_down(self) -> None:
        while not self._is_killed and not (self._is_stopping and self.is_down):
            for key, mask in self._selector.select():
                link: ChildLink | None = key.data
                if link is None:
                    self._answer()
                elif key.fd == link.process.sentinel:
                    self._bury(link)
                else:
                    self._serve_link(link, mask)

    def _answer(self) -> None:
        self._bell.recv(4096)
        while self._asked:
            self._asked.popleft()()

    def _add(self, link: ChildLink) -> None:
        self._selector.register(link, selectors.EVENT_READ, link)
        self._selector.register(link.process.sentinel, selectors.EVENT_READ, link)
        link.is_watched = True

    def _watch(self, link: ChildLink) -> None:
        if self._children[link.lane] is link:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if link.has_unsent else 0)
            self._selector.modify(link, events, link)

    def _give_back(self) -> None:
        """Return what was sent to lanes without a child. Such a lane is closed first, so that nothing goes there again."""
        while self._stranded:
            lane, deliveries = self._stranded[0]
            link = self._children[lane]
            if link is None or not link.is_ready:
                self._tell.on_lane(lane, is_open=False)
            self._tell.on_returned(deliveries)
            with self._guard:  # listed until here: a kill meanwhile must name them
                self._stranded.popleft()

    def _serve_link(self, link: ChildLink, mask: int) -> None:
        if self._children[link.lane] is not link:
            return  # buried in this round
        if mask & selectors.EVENT_WRITE:
            link.flush()
            self._watch(link)
        if mask & selectors.EVENT_READ:
            messages, is_closed = link.read()
            for message in messages:
                self._take(link, message)
            if is_closed:
                self._bury(link)

    def _take(self, link: ChildLink, message: Any) -> None:
        if isinstance(message, tuple):
            self._take_hello(link, message)
        elif results := link.match(message):
            self._tell.on_results(link.lane, results)

    def _take_hello(self, link: ChildLink, hello: Hello) -> None:
        kind, why, leftovers = hello
        if leftovers and self._starter.is_preloading:
            self._stop_preloading(leftovers)
        if leftovers and link.is_preloaded:
            link.is_discarded = True
            link.kill()
        elif kind == "failed":
            link.failure = why
        elif not link.is_dead:
            # A dead one's lane stays closed: nobody would take what is sent there.
            self._lane_is_ready(link)

    def _lane_is_ready(self, link: ChildLink) -> None:
        self._failures = 0
        link.is_ready = True
        self._was_ready[link.lane] = True
        if self._is_stopping:
            link.tell_to_stop()
        else:
            self._tell.on_lane(link.lane, is_open=True)

    def _stop_preloading(self, leftovers: Sequence[tuple[str, str]]) -> None:
        module, what = leftovers[0]
        logger.warning(
            "module %s leaves %s behind when it is imported, which must not be inherited by pool processes: "
            "each process imports the modules itself, which takes longer and needs more memory",
            module,
            what,
            extra={"event": "pool.preload_refused"},
        )
        self._starter.stop_preloading()

    def _bury(self, link: ChildLink) -> None:
        """Take leave of a process that has ended or closed its socket: reports, verdict, successor."""
        if self._children[link.lane] is not link or self._is_killed:
            return
        self._selector.unregister(link)
        self._selector.unregister(link.process.sentinel)
        if link.is_ready:
            self._tell.on_lane(link.lane, is_open=False)
        with self._process_lock:
            how = link.ensure_dead(_EXIT_PATIENCE)
        for message in link.read_rest():
            self._take(link, message)
        self._apply_verdict(link, how)
        with self._guard:
            self._children[link.lane] = None
        if self._is_stopping and not link.is_ready:
            return
        self._replace(link, how)

    def _apply_verdict(self, link: ChildLink, how: str) -> None:
        verdict = link.judge()
        ended: list[tuple[Delivery, Result]] = []
        for delivery in verdict.finished:
            logger.info(
                "%s succeeded; its %s died before it could report",
                delivery,
                link.description,
                extra={"event": "task.succeeded", **delivery.fields},
            )
            ended.append((delivery, (SUCCEEDED, 0.0, None, None)))
        for delivery in verdict.running:
            detail: Detail = (
                "worker_died",
                f"the {link.description} that ran it {how}",
                "",
                [],
            )
            ended.append((delivery, (FAILED, 0.0, None, detail)))
        if ended:
            self._tell.on_results(link.lane, ended)
        if verdict.not_started:
            self._tell.on_returned(verdict.not_started)

    def _replace(self, link: ChildLink, how: str) -> None:
        if link.is_discarded:
            self._want(link.lane)
        elif not link.is_ready:
            self._start_failed(link.lane, link.failure or f"it {how} in start-up")
        elif not self._is_stopping:
            logger.error(
                "pool %s %s; it is replaced",
                link.description,
                how,
                extra={"event": "pool.process_died"},
            )
            self._want(link.lane)


def _nothing() -> None:
    """Do nothing; for waking the reading thread."""
