"""Which partitions the records without a key of a transaction go to. Pure.

They take turns: all that is due in one moment is shared evenly by the partitions of its queue, and so by the workers that read it.
"""

from __future__ import annotations

import random
from collections.abc import Callable


class Spread:
    """Whose turn it is, by topic. Of one host; its thread calls it."""

    def __init__(self, *, first: Callable[[int], int] = random.randrange) -> None:
        """Begin with no topic.

        Args:
            first: Chooses where a topic's turns begin, of so many partitions: other hosts are to begin elsewhere.
        """
        self._next: dict[str, int] = {}
        self._first = first

    def take(self, topic: str, partitions: int) -> int:
        """Return the partition of the next record to a topic.

        Args:
            topic: The topic.
            partitions: How many it has, one at least.
        """
        place = self._next.get(topic)
        if place is None:
            place = self._first(partitions)
        place %= partitions
        self._next[topic] = place + 1
        return place
