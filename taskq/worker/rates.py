"""How often tasks may start: `rate_limit`, of one worker process. Pure: the clock's readings come from outside.

A task's bucket fills at its rate and holds a tenth of a second's starts, at least one: starts are spread, and a fast rate does not
need a claim for each start.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

_BURST_SECONDS = 0.1


class Named(Protocol):
    """What is to start."""

    @property
    def task(self) -> str:
        """Its task's name."""


N = TypeVar("N", bound=Named)


class TokenBucket:
    """The starts that one task has to its credit. A bucket begins full."""

    def __init__(self, rate: float) -> None:
        """Make one.

        Args:
            rate: Starts a second.
        """
        self._rate = rate
        self._size = max(1.0, rate * _BURST_SECONDS)
        self._tokens = self._size
        self._at = -math.inf

    def fill(self, now: float) -> int:
        """Return how many may start now."""
        if now > self._at:
            self._tokens = min(self._size, self._tokens + self._rate * (now - self._at))
            self._at = now
        # What the division by a rate leaves of a whole token is one: else a wait that is over would be followed by one of no time.
        return max(0, int(self._tokens + _ROUNDING))

    def take(self, count: int) -> None:
        """Note that so many start; not more than `fill` has returned."""
        self._tokens -= count

    def wait(self) -> float:
        """Return the seconds from the last `fill` until one may start."""
        return max(0.0, (1.0 - self._tokens) / self._rate)


_ROUNDING = 1e-6


class Rates:
    """The buckets of all tasks that have a rate. Thread-safe: the intakes of all queues ask."""

    def __init__(self, rates: Mapping[str, float]) -> None:
        """Make the buckets.

        Args:
            rates: Starts a second by task; others start as they come.
        """
        self._buckets = {task: TokenBucket(rate) for task, rate in rates.items()}
        self._guard = threading.Lock()

    def split(self, hand: Sequence[N], now: float) -> tuple[Sequence[N], float]:
        """Return those that may start now, in their order, and the seconds until the next of the others may.

        Of one task the first ones may. The seconds are of tasks of which none may start, infinite where there are none.
        """
        if not self._buckets:
            return hand, math.inf
        room: dict[str, int] = {}
        ready: list[N] = []
        wait = math.inf
        with self._guard:
            for each in hand:
                bucket = self._buckets.get(each.task)
                if bucket is None:
                    ready.append(each)
                    continue
                left = room.get(each.task)
                if left is None:
                    left = bucket.fill(now)
                    if not left:
                        wait = min(wait, bucket.wait())
                if left:
                    ready.append(each)
                room[each.task] = max(0, left - 1)
        return ready, wait

    def take(self, started: Sequence[Named]) -> None:
        """Note what starts."""
        if not self._buckets:
            return
        with self._guard:
            for each in started:
                bucket = self._buckets.get(each.task)
                if bucket is not None:
                    bucket.take(1)
