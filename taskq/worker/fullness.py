"""What an intake does while no slot is free: wait, pause, leave the group. Pure: the clock's readings come from outside."""

from __future__ import annotations

from dataclasses import dataclass

PAUSE_AFTER = 0.5
"""Seconds a record has waited in hand after which fetching is paused. A pause throws the prefetched away, up to 1 MB a queue."""

LEAVE_AFTER = 5.0
"""Seconds without a free slot after which other workers may have our partitions: under KIP-848 coming back takes up to 5 s."""

ASK_EVERY = 3.0
"""Seconds between two questions for other members: each is a round trip to the broker."""


@dataclass
class Fullness:
    """One intake's state. Its thread owns it."""

    blocked_since: float | None = None
    """When a record in hand first found no slot."""

    _asked: float = float("-inf")

    def found_no_slot(self, now: float) -> None:
        """Note that a record in hand waits."""
        if self.blocked_since is None:
            self.blocked_since = now

    def found_slot(self) -> None:
        """Note that a record in hand was placed."""
        self.blocked_since = None

    def should_pause(self, now: float) -> bool:
        """Return whether fetching is to be paused now, if it is not."""
        return self.blocked_since is not None and now - self.blocked_since >= PAUSE_AFTER

    def should_ask(self, now: float, *, full_for: float, is_waiting: bool) -> bool:
        """Return whether to ask now if there are other members, to leave the group to them.

        Args:
            now: Monotonic seconds.
            full_for: Seconds for which no slot has been free.
            is_waiting: Whether records wait on the own partitions.
        """
        if full_for < LEAVE_AFTER or not is_waiting or now - self._asked < ASK_EVERY:
            return False
        self._asked = now
        return True
