"""When an intake without partitions asks whether there is one for it. Pure: the clock's readings come from outside.

A classic group tells a member that it gets nothing; a KIP-848 group tells it nothing at all. So both are asked about.
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST_ASK = 3.0
"""Seconds without a partition before the first question: joining, or a hand-over, takes less where there is one to be had."""

ASK_EVERY = 10.0
"""Seconds between two questions: each is a few round trips to the broker."""


@dataclass
class Spare:
    """One intake's state. Its thread owns it."""

    _next_ask: float | None = None
    _is_settled: bool = False

    def should_ask(self, now: float, *, has_partitions: bool) -> bool:
        """Return whether to ask now how many partitions and workers the queue has.

        Args:
            now: Monotonic seconds.
            has_partitions: Whether the intake has any.
        """
        if has_partitions:
            self._next_ask = None
            self._is_settled = False
            return False
        if self._next_ask is None:
            self._next_ask = now + FIRST_ASK
        if self._is_settled or now < self._next_ask:
            return False
        self._next_ask = now + ASK_EVERY
        return True

    @property
    def is_settled(self) -> bool:
        """Whether it is known that there is no partition for it."""
        return self._is_settled

    def settle(self) -> None:
        """Note that there is no partition for it, and that this was said; nothing is asked until it has had one."""
        self._is_settled = True
