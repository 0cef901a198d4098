"""Moving many dead letters: in transactions of a bounded size, at a rate, until all are done or something ends it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeAlias

from taskq.clock import Clock
from taskq.protocols import DeadLetterMover, Removal

BATCH = 100
"""Letters of one transaction: so many are redone at most, or stand still with a killed process, and each costs little."""

OnMoved: TypeAlias = Callable[[Sequence[Removal]], None]


class Moves:
    """One command's moves. One thread calls it."""

    def __init__(
        self,
        mover: DeadLetterMover,
        *,
        clock: Clock,
        timeout: float,
        rate: float | None = None,
        on_moved: OnMoved = lambda removals: None,
    ) -> None:
        """Prepare.

        Args:
            mover: Of the queue.
            clock: For the rate.
            timeout: Seconds for one transaction.
            rate: Letters a second; None: as fast as it goes.
            on_moved: Called after each transaction that stands.
        """
        self._mover = mover
        self._clock = clock
        self._timeout = timeout
        self._rate = rate
        self._on_moved = on_moved
        self.moved = 0
        """How many are certain to be moved."""

        self.failed: list[tuple[Removal, str]] = []
        """Those that can never be moved, and why; they stand where they stood."""

        self.is_fenced = False
        """Whether another command has taken over the queue's dead letters."""

    def run(self, removals: Sequence[Removal]) -> None:
        """Move all of them, in their order; ends early if it is fenced. Raises what the mover raises."""
        size = batch_size(self._rate)
        started = self._clock.monotonic()
        for first in range(0, len(removals), size):
            if self._rate is not None:
                due = started + first / self._rate
                self._clock.wait(threading.Event(), due - self._clock.monotonic())
            self._move(removals[first : first + size])
            if self.is_fenced:
                return

    def _move(self, batch: Sequence[Removal]) -> None:
        try:
            stands = self._mover.move(batch, timeout=self._timeout)
        except ValueError as error:
            self._move_one_by_one(batch, error)
            return
        if not stands:
            self.is_fenced = True
            return
        self.moved += len(batch)
        self._on_moved(batch)

    def _move_one_by_one(self, batch: Sequence[Removal], error: ValueError) -> None:
        """Find out which of a batch cannot be moved; the others go."""
        if len(batch) == 1:
            self.failed.append((batch[0], str(error)))
            return
        for each in batch:
            if not self.is_fenced:
                self._move([each])


def batch_size(rate: float | None) -> int:
    """Return how many go in one transaction: a tenth of a second's worth, so that a low rate is even."""
    return BATCH if rate is None else max(1, min(BATCH, int(rate / 10)))
