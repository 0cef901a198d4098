"""A thread in which a host of shards runs, for processes that do something else besides."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from taskq.shards import ShardHost, ShardStatus

logger = logging.getLogger(__name__)

_AGAIN = 5.0
"""Seconds before a host that could not begin, because the broker was away, is made anew."""


class HostThread:
    """Runs a host until it is stopped. Any thread may call it."""

    def __init__(self, name: str, make: Callable[[], ShardHost]) -> None:
        """Take what makes the host; nothing runs yet.

        Args:
            name: What it owns, for log lines.
            make: Makes a host; called in the thread.
        """
        self.name = name
        self.failure: Exception | None = None
        """Why it has ended by itself: the broker refuses what it needs, or its own code is wrong."""

        self._make = make
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
            host = self._host
        if host is not None:
            host.stop()

    def join(self, timeout: float) -> bool:
        """Wait for the end for `timeout` seconds at most; returns whether it has come."""
        self._thread.join(max(0.0, timeout))
        return not self._thread.is_alive()

    def wake(self) -> None:
        """Let the host ask its shards at once."""
        host = self._host
        if host is not None:
            host.wake()

    def status(self) -> ShardStatus:
        """Return the host's place."""
        host = self._host
        return ShardStatus() if host is None else host.status()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._run_once()
                return
            except ConnectionError as error:
                logger.warning(
                    "%s: %s; tried again in %.0f s",
                    self.name,
                    error,
                    _AGAIN,
                    extra={"event": "host.unreachable", "host": self.name},
                )
                self._stopping.wait(_AGAIN)
            except Exception as error:
                self.failure = error
                logger.debug("%s has ended", self.name, exc_info=True)
                return

    def _run_once(self) -> None:
        host = self._make()
        with self._lock:
            if self._stopping.is_set():
                return
            self._host = host
        host.run()
