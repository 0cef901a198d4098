"""Whether an open transaction holds up a consumer: from inside its partition looks as if nothing came.

A `read_committed` fetch brings nothing from a transaction's first record on, and tells where the partition ends all the same. So a
partition whose end stays ahead of a place that does not move is suspect; its leader is asked before anything is said.

Pure: clock readings, places and answers come from outside. Asking and saying it are in membership.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

LOOK_EVERY: Final = 5.0
"""Seconds between two looks: each costs some microseconds a partition."""

HELD_SECONDS: Final = 30.0
"""Seconds that a place must not move: what a dead owner of shards has open is ended after 10 to 20 s."""


class HeldWatch:
    """Follows the places of one consumer. One thread owns it."""

    def __init__(self, *, patience: float = HELD_SECONDS, every: float = LOOK_EVERY) -> None:
        """Begin with no suspicion.

        Args:
            patience: Seconds that a place must not move.
            every: Seconds between two looks.
        """
        self._patience = patience
        self._every = every
        self._next = 0.0
        self._since: dict[int, tuple[int, float]] = {}
        self._said: set[tuple[int, int]] = set()

    def is_due(self, now: float) -> bool:
        """Return whether it is time for the next look; the first one comes a while after the begin."""
        if self._next == 0.0:
            self._next = now + self._every
        if now < self._next:
            return False
        self._next = now + self._every
        return True

    def suspects(self, short: Mapping[int, int], now: float) -> dict[int, int]:
        """Return the partitions whose leaders have to be asked, each with its place; one that was told of is none any more.

        Args:
            short: The offset to read next of each partition that has more, as its last fetch told.
            now: Seconds from an arbitrary start.
        """
        self._since = {
            number: self._since[number]
            if self._since.get(number, (-1, 0.0))[0] == place
            else (place, now)
            for number, place in short.items()
        }
        self._said &= set(short.items())
        return {
            number: place
            for number, (place, since) in self._since.items()
            if now - since >= self._patience and (number, place) not in self._said
        }

    def held(
        self, suspects: Mapping[int, int], stable: Mapping[int, int], ends: Mapping[int, int]
    ) -> list[tuple[int, int]]:
        """Return which partitions are held up, and from which offset on; each is told once.

        Args:
            suspects: As `suspects` said.
            stable: Where the partitions end for a `read_committed` reader, as their leaders say.
            ends: Where they end.
        """
        found = [
            (number, place)
            for number, place in suspects.items()
            if stable.get(number, place + 1) <= place < ends.get(number, 0)
        ]
        self._said.update(found)
        return found
