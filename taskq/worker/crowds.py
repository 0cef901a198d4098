"""Which partitions are not fetched from for a while, because their tasks in hand wait for keys that are at work. Pure.

A key is always in one partition, so that a backlog of one key has to stop no other partition. A *crowd* is a partition with such a
backlog. It is stopped when the hand has been full for a while, and some of its tasks are kept in hand. When half of these have gone
it is fetched from again, and stopped again as soon as the hand is full, or as many of its tasks are in hand as are kept. It is a
crowd no more when that has not come for some seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from taskq.worker.hand import MOST_BYTES, MOST_KEYED, Load

_KEPT_OF_ALL = 4000
_MOST_CROWDS = 80
"""Tasks in hand of all stopped partitions, and how many these may be: each turn of the intake looks at all of them. Few of one mean
that what was prefetched of it is thrown away often, and that other keys in it are not seen behind those that wait."""

EASED_AFTER = 5.0
"""Seconds for which a partition must have been fetched from again before its next backlog is another one."""


@dataclass(slots=True)
class _Crowd:
    """One partition, of which `goes_on_at` is the number of its tasks in hand at which it is fetched from again."""

    goes_on_at: int
    goes_on_since: float | None = None
    """Monotonic seconds; None while it is stopped."""


class Crowds:
    """Of one channel; its intake's thread owns it."""

    def __init__(self) -> None:
        """Begin with none."""
        self._crowds: dict[int, _Crowd] = {}
        self.owned = 0
        """How many partitions the channel has."""

    def __bool__(self) -> bool:
        return bool(self._crowds)

    def __contains__(self, partition: object) -> bool:
        return partition in self._crowds

    @property
    def stopped(self) -> frozenset[int]:
        """What is not to be fetched from now."""
        return frozenset(
            partition for partition, crowd in self._crowds.items() if crowd.goes_on_since is None
        )

    @property
    def kept(self) -> Load:
        """How much of one crowd is kept in hand: as much as there would be without it, if there are few."""
        count = min(MOST_KEYED, _KEPT_OF_ALL // max(1, len(self._crowds)))
        return Load(count, MOST_BYTES * count // _KEPT_OF_ALL)

    def find(self, in_hand: Mapping[int, Load], waiting: Mapping[int, Load]) -> list[int]:
        """Return what to stop so that half of a full hand is free again: the largest first, and none that is smaller than most.

        The owner of one partition waits with it: there are no others to go on with.

        Args:
            in_hand: What is in hand of each partition that is fetched from.
            waiting: What of it waits for keys that are at work.
        """
        if self.owned < 2:
            return []
        count = sum(load.count for load in in_hand.values())
        size = sum(load.size for load in in_hand.values())
        most = _MOST_CROWDS - len(self.stopped)
        found: list[int] = []
        for partition in sorted(waiting, key=lambda number: -waiting[number].share()):
            has_room = count <= MOST_KEYED // 2 and size <= MOST_BYTES // 2
            if has_room or len(found) >= most or not self._is_large(waiting[partition]):
                break
            found.append(partition)
            count -= in_hand[partition].count
            size -= in_hand[partition].size
        return found

    def _is_large(self, load: Load) -> bool:
        """Return whether it is as much as each partition has of a full hand that is evenly spread: at least one has."""
        return load.count * self.owned >= MOST_KEYED or load.size * self.owned >= MOST_BYTES

    def stop(self, partition: int) -> bool:
        """Let a partition be stopped, until `keep` says for how long; return whether it was no crowd before."""
        is_news = partition not in self._crowds
        self._crowds[partition] = _Crowd(0)
        return is_news

    def keep(self, partition: int, count: int) -> None:
        """Note how many tasks of a partition that is stopped are in hand now: it goes on when half of them have gone."""
        self._crowds[partition].goes_on_at = count // 2

    def look(self, in_hand: Mapping[int, Load], now: float) -> list[int]:
        """Let go on, and stop again, what is to; return what is a crowd no more.

        Args:
            in_hand: What is in hand of each partition.
            now: Monotonic seconds.
        """
        kept = self.kept
        eased: list[int] = []
        for partition, crowd in self._crowds.items():
            load = in_hand.get(partition, Load())
            if crowd.goes_on_since is None:
                if load.count <= crowd.goes_on_at:
                    crowd.goes_on_since = now
            elif load.count >= kept.count or load.size >= kept.size:
                crowd.goes_on_at, crowd.goes_on_since = load.count // 2, None
            elif now - crowd.goes_on_since >= EASED_AFTER:
                eased.append(partition)
        self.forget(eased)
        return eased

    def forget(self, partitions: Iterable[int]) -> None:
        """Know nothing more of partitions that came or went: they are fetched from, or another's."""
        for partition in partitions:
            self._crowds.pop(partition, None)
