"""The worker's thread that knows which tasks are revoked: it reads the log `taskq.revoked` and follows it.

Nothing is taken from a queue before all that stood there was read. While the broker is away it goes on with what it knows.
"""

from __future__ import annotations

import logging
import threading

from taskq.broker import Broker
from taskq.clock import Clock, unix_ms
from taskq.errors import BrokerRefused, TaskqError
from taskq.errortext import one_line
from taskq.timing.revocation import LOG, Revocations
from taskq.timing.shards import Follower

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.5
"""Longest wait for a record; also how soon a stop is seen."""

_FIRST_BACKOFF = 0.5
_LONGEST_BACKOFF = 10.0


class RevocationReader:
    """Keeps `revoked` up to date. `start` and `stop` are the supervisor's."""

    def __init__(self, broker: Broker, clock: Clock) -> None:
        """Prepare; nothing is connected."""
        self.revoked = Revocations()
        self._broker = broker
        self._clock = clock
        self._stopping = threading.Event()
        self._is_ready = threading.Event()
        self._has_complained = False
        self._thread = threading.Thread(target=self._run, name="taskq-revocations", daemon=True)

    @property
    def is_ready(self) -> bool:
        """Whether all was read that stood in the log at the start, or it is known that we may not read it."""
        return self._is_ready.is_set()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Read no more; returns at once."""
        self._stopping.set()

    def join(self, timeout: float) -> None:
        """Wait until the thread has ended, at most `timeout` seconds; it may not have been started."""
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        backoff = _FIRST_BACKOFF
        while not self._stopping.is_set():
            try:
                self._follow()
                return
            except BrokerRefused as error:
                self._complain(error)
                self._is_ready.set()
            except TaskqError:
                logger.debug("revocations are not read", exc_info=True)
            except Exception:
                # The thread's door: a bug here must not end the worker, nor go unseen.
                logger.exception("reading revocations failed")
            self._clock.wait(self._stopping, backoff)
            backoff = min(backoff * 2, _LONGEST_BACKOFF)

    def _follow(self) -> None:
        with self._broker.errors():
            follower = self._broker.logs.follow(LOG)
            try:
                while not self._stopping.is_set():
                    self._take(follower)
            finally:
                follower.close()

    def _take(self, follower: Follower) -> None:
        records = follower.fetch(_POLL_SECONDS)
        now_ms = unix_ms(self._clock)
        forgotten = self.revoked.forgotten
        for record in records:
            self.revoked.apply(record, now_ms)
        self.revoked.tidy(now_ms)
        if self.revoked.forgotten > forgotten == 0:
            logger.warning(
                "more than %d tasks are revoked; the oldest revocations are forgotten, and their tasks would run",
                len(self.revoked),
                extra={"event": "revocations.forgotten"},
            )
        if follower.is_caught_up and not self.is_ready:
            self._has_complained = False
            self._is_ready.set()

    def _complain(self, error: Exception) -> None:
        if not self._has_complained:
            self._has_complained = True
            logger.warning(
                "revoked tasks are not known here and would run: %s",
                one_line(str(error)),
                extra={"event": "revocations.unread"},
            )
