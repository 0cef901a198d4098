"""The default pool: N processes, each one lane of one slot.

Threads: one reads all children's sockets and judges the dead; one starts processes (childstarter.py). Handing over is done by
whoever calls `send`.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from taskq.clock import Clock
from taskq.errortext import error_text
from taskq.logs import log_failure
from taskq.worker.delivery import Delivery
from taskq.worker.pools.child import ChildSetup
from taskq.worker.pools.childlink import ChildLink
from taskq.worker.pools.childstarter import ChildStarter
from taskq.worker.pools.protocol import PoolEvents
from taskq.worker.pools.verdicts import results_of
from taskq.worker.pools.wire import Hello

logger = logging.getLogger(__name__)

RECALL_AFTER = 0.1
"""Seconds a task may run before what its child holds behind it is called back."""

_READ_FAILURES = 3
"""Times that taking results may fail before it is given up: a few, because what healthy processes run should end in order."""

_EXIT_PATIENCE = 2.0
"""Seconds a process may take to end after it has closed its socket."""


class PreforkPool:
    """See the module. Its public methods may be called by any thread."""

    uses_main_thread = False
    starts_beside = True

    def __init__(self, slots: int, setup: ChildSetup, modules: Sequence[str], clock: Clock) -> None:
        """Prepare: copy this process as it is at this moment, for pool processes to be copies of that. Nothing runs before `start`.

        Args:
            slots: The number of processes.
            setup: What each is told.
            modules: The user's modules, imported here without an error.
            clock: For the age of running tasks and for backoff.
        """
        self._slots = slots
        self._clock = clock
        self._starter = ChildStarter(
            setup,
            modules,
            clock,
            on_started=self._take_started,
            may_start=lambda: not self._is_stopping and self.broken is None,
            has_been_ready=lambda: self.is_ready,
        )
        self._children: list[ChildLink | None] = [None] * slots
        self._heirs: dict[int, ChildLink] = {}
        """By lane: started beside a child that retires, to take its place when it has ended."""

        self._was_ready = [False] * slots
        self._broken: str | None = None
        self._is_stopping = False
        self._is_killed = False
        self._guard = threading.Lock()  # for all above that changes
        self._runs: dict[int, tuple[Delivery, float]] = {}  # by lane; the ticking thread's
        self._selector = selectors.DefaultSelector()
        self._asked: deque[Callable[[], None]] = deque()
        self._stranded: deque[tuple[int, Sequence[Delivery]]] = deque()
        """Lane and deliveries that were sent to it when it had no child; the reading thread gives them back."""

        self._bell, self._bell_handle = socket.socketpair()
        self._events: PoolEvents | None = None

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
        return self._broken or self._starter.broken

    @property
    def is_down(self) -> bool:
        """Whether everything has ended after `shut_down`."""
        # In this order: what was started is among the children before it is pending no more.
        if self._starter.is_pending:
            return False
        return not self._links()

    def _links(self) -> list[ChildLink]:
        with self._guard:
            return [
                *(link for link in self._children if link is not None),
                *self._heirs.values(),
            ]

    def _is_current(self, link: ChildLink) -> bool:
        """Return whether a child is not buried yet."""
        return self._children[link.lane] is link or self._heirs.get(link.lane) is link

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
            self._starter.want(lane)
        self._bell.setblocking(False)
        self._bell_handle.setblocking(False)
        self._selector.register(self._bell, selectors.EVENT_READ, None)
        self._starter.start()
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
        """Notice deaths that nothing else tells; end what runs longer than its limit; call back what waits behind a slow task."""
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
                continue
            seconds = now - since
            if seconds > RECALL_AFTER:
                returned = link.recall()
                if returned:
                    self._tell.on_slow(running)
                    self._tell.on_returned(returned)
            if running.time_limit is not None and seconds > running.time_limit:
                self._end_overrun(link, running, seconds)

    def _end_overrun(self, link: ChildLink, delivery: Delivery, seconds: float) -> None:
        """Kill the process of a task that has run for longer than its limit; the reading thread does the rest."""
        if link.ended_after is None and link.kill_in(delivery, seconds):
            logger.warning(
                "%s has run longer than its time_limit of %g s: its %s is killed, and replaced",
                delivery,
                delivery.time_limit,
                link.description,
                extra={"event": "pool.process_killed", **delivery.fields},
            )

    def drop(self, deliveries: Sequence[Delivery]) -> None:
        """Take back what a child has not started, and kill the child of what runs and is to end. See `Pool`."""
        wanted = set(deliveries)
        for link in self._links():
            found = wanted.intersection(link.held())
            if not found:
                continue
            running = link.running()
            if running is not None and running in found:
                found.discard(running)
                if running.is_to_end:
                    self._end_revoked(link, running)
            if found:
                returned = (
                    link.recall()
                )  # with all else that it has not started: that is how it is done
                if returned:
                    self._tell.on_returned(returned)

    def _end_revoked(self, link: ChildLink, delivery: Delivery) -> None:
        """Kill the process of a task that was revoked while it runs; the reading thread does the rest."""
        known, since = self._runs.get(link.lane, (None, 0.0))
        seconds = self._clock.monotonic() - since if known is delivery else 0.0
        if link.ended_after is None and link.kill_in(delivery, seconds):
            logger.warning(
                "%s was revoked while it runs: its %s is killed, and replaced",
                delivery,
                link.description,
                extra={"event": "pool.process_killed", **delivery.fields},
            )

    def _look_for_dead(self) -> None:
        """Have those buried whose death no descriptor tells: a process that a task forked holds copies of all.

        The nursery tells of its copies by itself.
        """
        if not self._starter.process_lock.acquire(blocking=False):
            return  # a process is being started or buried; the next tick looks again
        try:
            dead = [
                link
                for link in self._links()
                if link.is_watched and not link.is_copy and link.process.exitcode is not None
            ]
        finally:
            self._starter.process_lock.release()
        for link in dead:
            self._ask(partial(self._bury, link))

    def unfinished(self) -> list[Delivery]:
        """Return what is handed over and not reported."""
        with self._guard:
            stranded = [delivery for _, deliveries in self._stranded for delivery in deliveries]
        return stranded + [delivery for link in self._links() for delivery in link.held()]

    def shut_down(self) -> None:
        """Let all end after what they hold; see `Pool`."""
        with self._guard:
            self._is_stopping = True
        self._starter.stop()
        for link in self._links():
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
        self._starter.stop()
        for link in self._links():
            link.abandon()
        self._ask(_nothing)

    @property
    def _tell(self) -> PoolEvents:
        assert self._events is not None, "start() comes first"
        return self._events

    # Results and deaths: the reading thread

    def _take_started(self, link: ChildLink) -> None:
        """Take over a process that was started; called by the starting thread."""
        with self._guard:
            if self._children[link.lane] is None:
                self._children[link.lane] = link
            else:
                self._heirs[link.lane] = link
        if self._is_killed:
            link.abandon()
            link.close()  # the reading thread may have ended
            return
        if self._is_stopping or self.broken is not None:
            link.kill()
        self._ask(partial(self._add, link))

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
            for link in self._links():
                link.close()
            self._starter.close()
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
        if self._is_current(link):
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
        if not self._is_current(link):
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
        kind, why = hello
        if kind == "retiring":
            self._retire(link, why)
        elif kind == "failed":
            link.failure = why
        elif not link.is_dead:
            # A dead one's lane stays closed: nobody would take what is sent there.
            self._lane_is_ready(link)

    def _lane_is_ready(self, link: ChildLink) -> None:
        self._starter.note_ready()
        link.is_ready = True
        self._was_ready[link.lane] = True
        if self._is_stopping:
            link.tell_to_stop()
        elif self._children[link.lane] is link:
            self._tell.on_lane(link.lane, is_open=True)

    def _retire(self, link: ChildLink, why: str) -> None:
        """Give a child that ends after its task nothing more, and have its successor started beside it."""
        link.is_retiring = True
        self._tell.on_lane(link.lane, is_open=False)
        returned = (
            link.recall()
        )  # it would come back with the child's end, which its task may be far from
        if returned:
            self._tell.on_returned(returned)
        if self._is_stopping:
            return
        logger.info(
            "pool %s %s; it is replaced",
            link.description,
            why,
            extra={"event": "pool.process_replaced"},
        )
        self._starter.want(link.lane)

    def _bury(self, link: ChildLink) -> None:
        """Take leave of a process that has ended or closed its socket: reports, verdict, successor."""
        if not self._is_current(link) or self._is_killed:
            return
        self._selector.unregister(link)
        self._selector.unregister(link.process.sentinel)
        if link.is_ready:
            self._tell.on_lane(link.lane, is_open=False)
        with contextlib.nullcontext() if link.is_copy else self._starter.process_lock:
            how = link.ensure_dead(_EXIT_PATIENCE)
        for message in link.read_rest():
            self._take(link, message)
        self._apply_verdict(link, how)
        self._remove(link)
        if self._is_stopping and not link.is_ready:
            return
        self._replace(link, how)

    def _remove(self, link: ChildLink) -> None:
        """Take a dead child out of its lane; its heir takes its place."""
        with self._guard:
            if self._heirs.get(link.lane) is link:
                del self._heirs[link.lane]
                return
            heir = self._heirs.pop(link.lane, None)
            self._children[link.lane] = heir
        if heir is not None and heir.is_ready:
            self._lane_is_ready(heir)

    def _apply_verdict(self, link: ChildLink, how: str) -> None:
        verdict = link.judge()
        ended = results_of(link, verdict, how)
        if ended:
            self._tell.on_results(link.lane, ended)
        if verdict.not_started:
            self._tell.on_returned(verdict.not_started)

    def _replace(self, link: ChildLink, how: str) -> None:
        if not link.is_ready:
            self._starter.note_failure(link.lane, link.failure or f"it {how} in start-up")
        elif not self._is_stopping:
            if link.ended_after is None and not (link.is_retiring and not link.process.exitcode):
                logger.error(
                    "pool %s %s; it is replaced",
                    link.description,
                    how,
                    extra={"event": "pool.process_died"},
                )
            if not link.is_retiring:
                self._starter.want(link.lane)


def _nothing() -> None:
    """Do nothing; for waking the reading thread."""
