"""Counters that any thread may raise without a lock: each thread has its own, and they are added up when somebody asks."""

from __future__ import annotations

import threading
from collections import Counter

Labels = tuple[str, ...]


class Counts:
    """One family of counters, by labels."""

    def __init__(self) -> None:
        """Begin with none."""
        self._local = threading.local()
        self._all: list[dict[Labels, int]] = []

    def mine(self) -> dict[Labels, int]:
        """Return the counters of the calling thread, for `add`."""
        counts: dict[Labels, int] | None = getattr(self._local, "counts", None)
        if counts is None:
            counts = self._local.counts = {}
            self._all.append(counts)  # its numbers outlive the thread
        return counts

    def add(self, labels: Labels) -> None:
        """Count one."""
        counts = self.mine()
        counts[labels] = counts.get(labels, 0) + 1

    def total(self) -> dict[Labels, int]:
        """Return the sums; what is counted meanwhile may be missing."""
        total: Counter[Labels] = Counter()
        for counts in list(self._all):
            total.update(counts.copy())  # a copy is made at once; its owner goes on
        return dict(total)
