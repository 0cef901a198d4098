"""The thread that looks for topics of priority steps: they are made by the first task that is sent to them.

A worker does not make them, and asks for those only that it has not found yet: without priorities that is all it costs.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable

from taskq.broker import Broker
from taskq.clock import Clock
from taskq.errors import TaskqError
from taskq_kafka.steps import sources_of

logger = logging.getLogger(__name__)

_PAUSE = 2.0
_PAUSE_PER_TOPIC = 0.02
"""Seconds between two rounds, at least, and for each topic that is asked for: a worker of many queues asks no more often."""

_ASK_SECONDS = 5.0
"""For the questions of a round, half a millisecond each; a broker that is silent holds up the start of a worker no longer."""


class StepFinder:
    """Finds the step topics of some queues. Any thread may call it."""

    def __init__(self, broker: Broker, queues: Iterable[str], *, clock: Clock) -> None:
        """Prepare; `start` starts the thread.

        Args:
            broker: Is asked.
            queues: The worker's.
            clock: For pauses.
        """
        self._broker = broker
        self._clock = clock
        self._missing = [source for queue in queues for source in sources_of(queue)[:-1]]
        self._found: list[str] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="taskq-steps", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; returns at once."""
        self._stopping.set()

    def take_found(self) -> list[str]:
        """Return the sources that were found since the last call, the highest step of a queue first."""
        if not self._found:
            return []
        with self._lock:
            found, self._found = self._found, []
        return found

    def look(self) -> None:
        """Ask once for the topics that are missing. Never raises for what a broker answers, or if it does not."""
        try:
            with self._broker.errors():
                admin = self._broker.admin
                found = admin.existing(self._missing, timeout=_ASK_SECONDS)
        except TaskqError:
            logger.debug("no answer which priority steps exist", exc_info=True)
            return
        if found:
            with self._lock:
                self._missing = [source for source in self._missing if source not in found]
                self._found += found

    def _run(self) -> None:
        while self._missing:
            pause = max(_PAUSE, _PAUSE_PER_TOPIC * len(self._missing))
            if self._clock.wait(self._stopping, pause):
                return
            try:
                self.look()
            except Exception:
                # The thread's door: the next round may fare better.
                logger.exception("looking for priorities failed", extra={"event": "steps.failed"})
