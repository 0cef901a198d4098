"""The log that all connections of this process to one `memory://NAME` share, its lock and its clock."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from taskq.clock import unix_ms
from taskq.memory.clock import MovableClock
from taskq.memory.log import Log


class Cluster:
    """A log for many threads: one at a time holds it, and says when others may go on."""

    def __init__(self) -> None:
        """Begin empty, with a clock that shows the system's time."""
        self.clock = MovableClock()
        self.changed = threading.Condition()
        self.bindings: dict[str, Any] = {}
        """kombu's exchanges and bindings, by prefix: they belong to the cluster, not to a connection."""

        self._log = Log()

    @contextmanager
    def locked(self) -> Iterator[Log]:
        """Hold the log, to look at it or to change what nobody waits for."""
        with self.changed:
            yield self._log

    @contextmanager
    def waking(self) -> Iterator[Log]:
        """Hold the log to change it, then wake whoever waits for a record or a rebalance."""
        with self.changed:
            yield self._log
            self.changed.notify_all()

    def now_ms(self) -> int:
        """Return the clock's milliseconds since 1970, as records carry them."""
        return unix_ms(self.clock)


# What a broker is outside of the process must be one here whoever asks: kombu makes a transport object per connection.
_lock = threading.Lock()
_clusters: dict[str, Cluster] = {}


def cluster_named(name: str) -> Cluster:
    """Return the cluster of `memory://NAME`, made when it is first asked for. Any thread may call it."""
    with _lock:
        return _clusters.setdefault(name, Cluster())


def forget_cluster(name: str) -> None:
    """Let the next connection to `memory://NAME` find an empty cluster; those that are open keep theirs."""
    with _lock:
        _clusters.pop(name, None)
