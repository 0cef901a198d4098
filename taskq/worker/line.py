"""One source's place in the line for slots: it reserves them, and keeps its place or leaves it. The line is allocator.py's."""

from __future__ import annotations

from collections.abc import Sequence

from taskq.worker.delivery import Delivery
from taskq.worker.dispatcher import Dispatcher
from taskq.worker.suspects import Suspects


class Line:
    """Of one channel; its intake's thread calls it."""

    def __init__(self, queue: str, step: int, dispatcher: Dispatcher, suspects: Suspects) -> None:
        """Begin outside of the line.

        Args:
            queue: The source.
            step: Its priority step.
            dispatcher: Has the slots.
            suspects: Told who found none.
        """
        self._queue = queue
        self._step = step
        self._dispatcher = dispatcher
        self._suspects = suspects
        self.is_kept = False
        """Whether slots are kept for the source from lower steps until it is seen that nothing more has arrived."""

    def reserve(self, ready: Sequence[Delivery]) -> list[Delivery]:
        """Return as many of the first ones as there are slots for, which are theirs now.

        Where there is none the source stands in line. Starts that have a rate are counted: all that is returned is to be started.
        """
        grants = self._dispatcher.reserve(self._queue, ready, self._step)
        if not grants:
            self._suspects.found_no_slot(ready[0])
            return []
        self.is_kept = self._step > 0
        batch = list(ready[: grants[-1].stop])
        self._dispatcher.rates.take(batch)
        return batch

    def step_back(self) -> None:
        """Want no slot now; a slot that is kept for the source is others'."""
        self._dispatcher.leave_line(self._queue)

    def leave(self) -> None:
        """Want no slot, and let lower steps have those that are kept."""
        self.is_kept = False
        self._dispatcher.leave_line(self._queue)
