"""A thread in which a host owns shards of a log, for processes that do something else besides.

Workers and beats keep the time of waiting tasks in one, beats own their schedules in others. A process that ends lets go of its
shards at once, one that dies loses them when its session ends, and nothing else: what waits stands in Kafka.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from taskq.broker import Broker
from taskq.clock import Clock, unix_ms
from taskq.errors import BrokerRefused, BrokerUnreachable
from taskq.timing.shards import Shard, ShardHost, ShardStatus
from taskq.timing.timers import GROUP, LOG
from taskq.timing.timershard import TimerShard

logger = logging.getLogger(__name__)

AWAY_SECONDS: Final = 2.0
REFUSED_SECONDS: Final = 60.0
"""Seconds between two tries: of a broker that does not answer, and of one that refuses us, which somebody has to mend."""


class HostThread:
    """Owns shards of a log, whatever happens to the broker, until it is stopped. Any thread may call it."""

    def __init__(
        self,
        name: str,
        broker: Broker,
        clock: Clock,
        *,
        group: str,
        open_shard: Callable[[int], Shard],
        log: str,
        now_ms: Callable[[], int] | None = None,
        without: str | None = None,
    ) -> None:
        """Take what the host is made of; nothing runs yet.

        Args:
            name: What it owns, for log lines.
            broker: Has the logs.
            clock: Whose pauses it keeps.
            group: Of those who share the log, without prefix.
            open_shard: Makes the shard of a partition.
            log: The log's name.
            now_ms: The clock by which things are due; None: `clock`.
            without: What it means, for people, that this process has no shards: then it tries again whatever has failed. None: any
                failure but a broker that is away ends the thread, which keeps it as `failure`.
        """
        self.name = name
        self.failure: Exception | None = None
        """Why it has ended by itself: the broker refuses what it needs, or its own code is wrong."""

        self._broker = broker
        self._clock = clock
        self._make: Callable[[], ShardHost] = lambda: broker.logs.host(
            log, group, open_shard, now_ms=now_ms or (lambda: unix_ms(clock))
        )
        self._without = without
        self._host: ShardHost | None = None
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        # A daemon: a broker that does not answer keeps no process from ending.
        self._thread = threading.Thread(target=self._run, name=f"taskq-{name}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Let the host hand over its shards and end; returns at once."""
        with self._lock:
            self._stopping.set()
            if self._host is not None:
                self._host.stop()

    def wake(self) -> None:
        """Let the host ask its shards at once: something outside of the log has changed, such as the clock."""
        with self._lock:
            if self._host is not None:
                self._host.wake()

    def join(self, timeout: float) -> bool:
        """Wait for the end for `timeout` seconds at most; returns whether it has come."""
        if self._thread.ident is not None:
            self._thread.join(max(0.0, timeout))
        return not self.is_running

    @property
    def is_running(self) -> bool:
        """Whether the thread lives."""
        return self._thread.is_alive()

    @property
    def status(self) -> ShardStatus:
        """The host's place among those who share the log."""
        host = self._host
        return ShardStatus() if host is None else host.status()

    def _run(self) -> None:
        while not self._stopping.is_set():
            pause = AWAY_SECONDS
            try:
                with self._broker.errors():
                    self._serve()
            except BrokerUnreachable as error:
                extra = {"event": "host.unreachable", "host": self.name}
                logger.warning("%s: %s; tried again by itself", self.name, error, extra=extra)
            except Exception as error:
                if self._without is None:
                    self.failure = error
                    logger.debug("%s has ended", self.name, exc_info=True)
                    return
                pause = self._say(error, self._without)
            if not self._stopping.is_set():
                self._clock.wait(self._stopping, pause)

    def _say(self, error: Exception, without: str) -> float:
        """Say what has failed; return the seconds until the next try."""
        if isinstance(error, BrokerRefused):
            extra = {"event": "host.refused", "host": self.name}
            logger.error("%s: %s; %s", self.name, error, without, extra=extra)
            return REFUSED_SECONDS
        # What nobody thought of costs a new host, not the process.
        extra = {"event": "host.failed", "host": self.name}
        logger.error("%s: its host failed", self.name, exc_info=error, extra=extra)
        return AWAY_SECONDS

    def _serve(self) -> None:
        """Own shards until `stop`, or until something cannot be borne."""
        host = self._make()
        with self._lock:
            if self._stopping.is_set():
                return
            self._host = host
        try:
            host.run()
        finally:
            with self._lock:
                self._host = None


def timekeeper(broker: Broker, clock: Clock) -> HostThread:
    """Return a thread that keeps the time of waiting tasks: it owns its share of `taskq.timers` and sends what is due."""
    return HostThread(
        LOG,
        broker,
        clock,
        group=GROUP,
        open_shard=TimerShard,
        log=LOG,
        without="tasks with a countdown or an eta wait until another process keeps the time",
    )
