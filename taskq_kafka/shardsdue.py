"""What is due in the open shards of a host, and how long to poll until something is.

It decides, by a clock from outside; records of what is due soon are fetched by shardloader.py.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from .shardloader import ShardLoader
from .shardset import Due, ShardSet, take

LOOK_EVERY: Final = 0.05
"""Seconds of the longest poll."""

BUSY_LOOK: Final = 0.002
"""Seconds of a poll while single records are being fetched, which come by another client."""

FRUITLESS: Final = 0.005
"""Seconds of a poll after a shard had said that something is due and then had nothing."""

MOST_FIRINGS: Final = 1000
"""In one transaction. Each partition that it goes to costs a request, so two of half as many take nearly twice as long; but it
holds up the readers of its queues until its end, so that there is a limit."""


class ShardsDue:
    """Of one host; its thread calls it."""

    def __init__(
        self,
        shards: ShardSet,
        loader: ShardLoader,
        now_ms: Callable[[], int],
        woken: threading.Event,
    ) -> None:
        """Prepare.

        Args:
            shards: The open ones.
            loader: Fetches the records of what is due soon.
            now_ms: The clock by which things are due.
            woken: Set by who wants all shards to be asked at once; cleared by `take`.
        """
        self._shards = shards
        self._loader = loader
        self._now_ms = now_ms
        self._woken = woken
        self._is_fruitless = False

    def wait(self) -> float:
        """Return how long to wait for records now, in seconds."""
        if self._woken.is_set():
            return 0.0
        wait = BUSY_LOOK if self._loader.is_busy else LOOK_EVERY
        due = self._shards.next_due()
        if due is None:
            return wait
        left = max(0.0, (due - self._now_ms()) / 1000)
        return min(wait, max(left, FRUITLESS) if self._is_fruitless else left)

    def take(self) -> list[Due]:
        """Return what is due, which counts as under way; ask for the records of what is due soon."""
        is_woken = self._woken.is_set()
        self._woken.clear()
        now_ms = self._now_ms()
        asked = self._shards.asked(now_ms, all_of_them=is_woken)
        for owner in asked:
            self._loader.want(owner.partition, owner.shard.wanted(now_ms))
        for partition, records in self._loader.step().items():
            loaded = self._shards.get(partition)
            if loaded is not None:
                loaded.shard.load(records)
                if loaded not in asked:
                    asked.append(loaded)
        due = take(asked, now_ms, MOST_FIRINGS)
        self._is_fruitless = bool(asked) and not due
        return due
