"""The slots of a pool in one process, and the line before them: who ends takes the next himself, without a hand-over."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Slots(Generic[T]):
    """So many run at a time; the others stand in line, and start in the order in which they came. Any thread may use it."""

    def __init__(self, count: int) -> None:
        """Begin with all slots free.

        Args:
            count: How many there are.
        """
        self._free = count
        self._line: deque[T] = deque()
        self._guard = threading.Lock()

    def enter(self, items: Sequence[T]) -> list[T]:
        """Put items at the end of the line; return those, from its head, that have got a slot and are to be started."""
        with self._guard:
            self._line.extend(items)
            return self._take()

    def pass_on(self) -> T | None:
        """Give the slot of one that has ended to the first in line, and return that; None: it is free now."""
        with self._guard:
            if self._line:
                return self._line.popleft()
            self._free += 1
            return None

    def leave(self, count: int) -> list[T]:
        """Give up the slots of so many that have ended; return those that have got them and are to be started."""
        with self._guard:
            self._free += count
            return self._take()

    def _take(self) -> list[T]:
        count = min(self._free, len(self._line))
        self._free -= count
        return [self._line.popleft() for _ in range(count)]
