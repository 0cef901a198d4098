"""The thread in which a process keeps the time of waiting tasks: it owns its share of `taskq.timers` and sends what is due.

Workers and beats each have one; together they share the log's partitions. A process that ends lets go of its share at once, one
that dies loses it when its session ends, and nothing else: what waits stands in Kafka.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from taskq.broker import Broker
from taskq.clock import Clock
from taskq.errors import BrokerRefused, BrokerUnreachable
from taskq.shards import Shard, ShardHost, ShardStatus
from taskq.timers import GROUP, LOG
from taskq.timershard import TimerShard

logger = logging.getLogger(__name__)

_UNREACHABLE_SECONDS = 2.0
_REFUSED_SECONDS = 60.0
"""Seconds between two tries: of a broker that does not answer, and of one that refuses us, which somebody has to mend."""


def now_ms(clock: Clock) -> int:
    """Return a clock's whole milliseconds since 1970, rounded down: what is due by it is not early."""
    return int(clock.time() * 1000)


class Timekeeper:
    """Owns shards of a log in a thread of its own, whatever happens to the broker, until it is stopped. Any thread may call it."""

    def __init__(
        self,
        broker: Broker,
        clock: Clock,
        *,
        log: str = LOG,
        group: str = GROUP,
        open_shard: Callable[[int], Shard] = TimerShard,
        what: str = "tasks with a countdown or an eta wait until another process keeps the time",
    ) -> None:
        """Build it; `start` starts the thread.

        Args:
            broker: Has the logs.
            clock: By which things are due.
            log: The log's name.
            group: Of those who share the log, without prefix.
            open_shard: Makes the shard of a partition.
            what: What it means, for people, if the log cannot be used.
        """
        self._broker = broker
        self._clock = clock
        self._log = log
        self._group = group
        self._open_shard = open_shard
        self._what = what
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._host: ShardHost | None = None
        self._thread = threading.Thread(target=self._run, name=f"{log}-{group}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Let go of the shards soon; returns at once."""
        self._stopping.set()
        with self._lock:
            if self._host is not None:
                self._host.stop()

    def wake(self) -> None:
        """Look at the shards at once: something outside of the log has changed, such as the clock."""
        with self._lock:
            if self._host is not None:
                self._host.wake()

    def join(self, timeout: float) -> bool:
        """Wait until the thread has ended; return whether it has."""
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self.is_running

    @property
    def is_running(self) -> bool:
        """Whether the thread lives."""
        return self._thread.is_alive()

    @property
    def status(self) -> ShardStatus:
        """Its place among those who share the log."""
        host = self._host
        return ShardStatus() if host is None else host.status()

    def _run(self) -> None:
        while not self._stopping.is_set():
            pause = _UNREACHABLE_SECONDS
            try:
                with self._broker.errors():
                    self._serve()
            except BrokerUnreachable as error:
                extra = {"event": "timers.unreachable", "log": self._log}
                logger.warning("%s: %s", self._log, error, extra=extra)
            except BrokerRefused as error:
                extra = {"event": "timers.refused", "log": self._log}
                logger.error("%s: %s; %s", self._log, error, self._what, extra=extra)
                pause = _REFUSED_SECONDS
            except Exception:
                # The thread's door: what nobody thought of costs a new host, not the process.
                logger.exception("%s: its host failed", self._log, extra={"event": "timers.failed"})
            if not self._stopping.is_set():
                self._clock.wait(self._stopping, pause)

    def _serve(self) -> None:
        """Own shards until `stop`, or until something cannot be borne."""
        host = self._broker.logs.host(
            self._log, self._group, self._open_shard, now_ms=lambda: now_ms(self._clock)
        )
        with self._lock:
            if self._stopping.is_set():
                return
            self._host = host
        try:
            host.run()
        finally:
            with self._lock:
                self._host = None
