"""Shards that are opened anew after a while, because they have a firing that could not be written.

Pure: the clock's readings come from outside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from .backoff import Backoff

FIRST_REST: Final = 30.0
LONGEST_REST: Final = 600.0
"""Seconds until a shard is opened anew that has a firing of which not even the letter could be written."""


class RestingShards:
    """Of one host; its thread owns it. The others of such a shard are fired meanwhile: it is open, until it is forgotten."""

    def __init__(self, *, make_backoff: Callable[[float, float], Backoff] = Backoff) -> None:
        """Begin with none.

        Args:
            make_backoff: Makes the waits, from the first and the longest.
        """
        self._until: dict[int, float] = {}
        self._backoff = make_backoff(FIRST_REST, LONGEST_REST)

    def __contains__(self, partition: object) -> bool:
        return partition in self._until

    def rest(self, partition: int, now: float) -> float:
        """Leave a shard for later, longer each time; return the seconds. One that rests already does not rest longer."""
        wait = self._backoff.next()
        self._until.setdefault(partition, now + wait)
        return wait

    def rest_for(self, partition: int, seconds: float, now: float) -> None:
        """Leave a shard for later, for so many seconds."""
        self._until[partition] = now + seconds

    def take_rested(self, now: float) -> list[int]:
        """Return the partitions whose rest is over, each once."""
        rested = [partition for partition, until in self._until.items() if until <= now]
        self.forget(rested)
        return rested

    def forget(self, partitions: Iterable[int]) -> None:
        """Forget that partitions rest: they are opened anew anyway, or not ours any more."""
        for partition in partitions:
            self._until.pop(partition, None)

    def note_written(self) -> None:
        """Note that something could be written: where none rests, the next rest is short again."""
        if not self._until:
            self._backoff.reset()
