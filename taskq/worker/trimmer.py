"""The thread that has finished records deleted, in the worker that owns a queue's first partition: seldom, a few calls each time.

What may go is decided at the broker's end (taskq_kafka/trimming.py): what every group has committed, and was sent long enough ago.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from taskq.broker import Broker
from taskq.clock import Clock
from taskq.errors import BrokerUnreachable, TaskqError
from taskq.errortext import one_line

logger = logging.getLogger(__name__)

_LONGEST_PAUSE = 3600.0
_SHORTEST_PAUSE = 1.0
_FIRST_PAUSE = 60.0
"""Seconds between two rounds, and before the first at most: a worker that lives for minutes does its share, too."""

_ROUND_SECONDS = 60.0
"""For one round: it asks each group of the cluster."""


class Trimmer:
    """Any thread may call it."""

    def __init__(
        self, broker: Broker, owned: Callable[[], Sequence[str]], *, keep: float, clock: Clock
    ) -> None:
        """Prepare; `start` starts the thread.

        Args:
            broker: Deletes.
            owned: Returns the queues that are this worker's to trim at the moment.
            keep: Seconds that a record is kept from its sending; 0: for ever.
            clock: For pauses.
        """
        self._broker = broker
        self._owned = owned
        self._keep = keep
        self._clock = clock
        self._is_refused = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="taskq-trimmer", daemon=True)

    def start(self) -> None:
        """Start the thread, if anything is to be deleted ever."""
        if self._keep:
            self._thread.start()

    def stop(self) -> None:
        """Begin no more rounds; returns at once. One that runs may be left alone."""
        self._stopping.set()

    def _run(self) -> None:
        pause = min(max(self._keep / 24, _SHORTEST_PAUSE), _LONGEST_PAUSE)
        first = min(pause, _FIRST_PAUSE)
        while not self._clock.wait(self._stopping, first):
            self.trim()
            first = pause

    def trim(self) -> None:
        """Do one round. Never raises."""
        queues = self._owned()
        if not queues:
            return
        try:
            with self._broker.errors():
                gone = self._broker.admin.trim(queues, keep=self._keep, timeout=_ROUND_SECONDS)
        except BrokerUnreachable as error:
            logger.debug("finished tasks are not deleted this time: %s", error)
            return
        except TaskqError as error:
            self._say_refused(queues, error)
            return
        except Exception:
            # The thread's door: nothing of the worker depends on it.
            logger.exception("deleting finished tasks failed", extra={"event": "trim.failed"})
            return
        self._is_refused = False
        for queue, count in gone.items():
            logger.info(
                "deleted %d finished records of queue %s",
                count,
                queue,
                extra={"event": "trim.deleted", "queue": queue, "count": count},
            )

    def _say_refused(self, queues: Sequence[str], error: TaskqError) -> None:
        if self._is_refused:
            return
        self._is_refused = True
        logger.warning(
            "finished tasks stay in %s: %s; tried again by itself, and keep_finished = 0 keeps them without this line",
            ", ".join(queues),
            one_line(str(error)),
            extra={"event": "trim.refused"},
        )
