"""When the ends of runs are reported: several at once, because a report of each would cost more than a short task takes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import TYPE_CHECKING

from taskq.running.runresult import SUCCEEDED, Result
from taskq.worker.runtimes import LONG

if TYPE_CHECKING:
    from taskq.worker.delivery import Delivery

BATCH = 16
"""Ends a report at most."""

REPORT_AFTER = 0.001
"""Seconds since the last report after which an end is reported at once."""


class Reports:
    """Of a pool in one process: what has ended in its threads and is not reported yet. Any thread may use it."""

    def __init__(self, report: Callable[[Sequence[tuple[Delivery, Result]]], None]) -> None:
        """Begin with none.

        Args:
            report: Told of what has ended.
        """
        self._report = report
        self._guard = threading.Lock()
        self._ended: list[tuple[Delivery, Result]] = []
        self._reported = 0.0

    def add(self, delivery: Delivery, result: Result, *, following: Delivery | None) -> None:
        """Take an end, and report all that have come unless this can wait for the next.

        Only a plain success can, and only where the same thread goes on with a task that is known to be short. If that takes long
        all the same, somebody else has to call `flush`.

        Args:
            delivery: What has ended.
            result: What became of it.
            following: What the calling thread runs next; None: nothing.
        """
        with self._guard:
            self._ended.append((delivery, result))
            if (
                following is not None
                and following.cost_ns != LONG
                and result[0] == SUCCEEDED
                and result[3] is None
                and len(self._ended) < BATCH
                and perf_counter() - self._reported < REPORT_AFTER
            ):
                return
        self.flush()

    def flush(self) -> None:
        """Report what has ended."""
        with self._guard:
            ended, self._ended = self._ended, []
            self._reported = perf_counter()
        if ended:
            self._report(ended)
